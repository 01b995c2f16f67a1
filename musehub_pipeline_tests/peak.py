"""The peak of a process, said by itself. What imports this is measured, so it imports little."""

from pathlib import Path


def peak_bytes() -> int:
    """Return the peak of the resident set of this process alone.

    What getrusage(2) says may be the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        from resource import RUSAGE_SELF, getrusage

        return getrusage(RUSAGE_SELF).ru_maxrss  # macOS, in bytes
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
