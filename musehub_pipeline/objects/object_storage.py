"""Object storage as a run uses it: mpacks and objects, by one client and one pool of threads."""

from musehub_pipeline.objects.mpacks import Mpacks
from musehub_pipeline.objects.stored_objects import StoredObjects


class ObjectStorage(Mpacks, StoredObjects):
    """The mpacks and the objects of a storage. Keys are built from digests only."""
