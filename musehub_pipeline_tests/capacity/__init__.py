"""What a hub of some size needs: rates that are measured here, and a simulation that uses them."""
