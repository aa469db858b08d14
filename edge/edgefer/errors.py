"""The errors that edgefer raises; a command prints the message as one line and exits non-zero.

EdgeferError
├── SettingsError    (ValueError)         a config key, a spec or a flag is wrong
├── ModelError       (ValueError)         a model file is refused
├── DataError        (ValueError)         a dataset is missing, incomplete or damaged
├── SourceError      (OSError)            a camera, a clip or a folder cannot be read
├── SinkError        (OSError)            an output cannot be opened or written
├── ServiceError     (OSError)            the systemd service cannot be installed or queried
├── MemoryLimit      (MemoryError)        the process uses more memory than the settings allow
├── WorkerLost       (ConnectionError)    another process of a distributed training ended
└── MissingLibrary   (ImportError)        an optional library is not installed
"""


class EdgeferError(Exception):
    """Base of all errors. The text is for the user: what was asked, what was found, what to do."""


class SettingsError(EdgeferError, ValueError):
    """A setting, a spec or a flag is wrong."""


class ModelError(EdgeferError, ValueError):
    """A model file is missing, damaged or changed, or does not match its card."""


class DataError(EdgeferError, ValueError):
    """A dataset is missing, incomplete or damaged."""


class SourceError(EdgeferError, OSError):
    """A camera, a clip, a stream or a folder cannot be opened or read."""


class SinkError(EdgeferError, OSError):
    """An output cannot be opened or written."""


class ServiceError(EdgeferError, OSError):
    """The systemd service cannot be installed, started or queried."""


class MemoryLimit(EdgeferError, MemoryError):
    """The process uses more memory than the settings allow."""


class WorkerLost(EdgeferError, ConnectionError):
    """Another process of a distributed training ended."""


class MissingLibrary(EdgeferError, ImportError):
    """An optional library is not installed; the text names the package."""
