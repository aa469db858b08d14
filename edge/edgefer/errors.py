"""Every error edgefer raises on purpose; the commands print the message as one line and exit non-zero.

EdgeferError
├── SettingsError    (ValueError)         a config key, a spec or a flag is wrong
├── ModelError       (ValueError)         a model file is refused
├── DataError        (ValueError)         a dataset is missing, incomplete or damaged
├── SourceError      (OSError)            a camera, a clip or a folder cannot be read
├── SinkError        (OSError)            an output cannot be opened or written
├── ServiceError     (OSError)            the systemd service cannot be installed or asked
├── MemoryLimit      (MemoryError)        the process grew beyond what the settings allow
├── WorkerLost       (ConnectionError)    another process of a training on several machines is gone
└── MissingLibrary   (ImportError)        an optional library is absent
"""


class EdgeferError(Exception):
    """Root of all errors whose text is meant for the user: what was asked, what was found, what to do."""


class SettingsError(EdgeferError, ValueError):
    """A setting, a spec or a flag is wrong."""


class ModelError(EdgeferError, ValueError):
    """A model file is missing, damaged, changed, or disagrees with its own card."""


class DataError(EdgeferError, ValueError):
    """A dataset is missing, incomplete or damaged."""


class SourceError(EdgeferError, OSError):
    """A camera, a clip, a stream or a folder cannot be opened or read."""


class SinkError(EdgeferError, OSError):
    """An output cannot be opened or written."""


class ServiceError(EdgeferError, OSError):
    """The systemd service cannot be installed, started or asked."""


class MemoryLimit(EdgeferError, MemoryError):
    """The process holds more memory than the settings allow."""


class WorkerLost(EdgeferError, ConnectionError):
    """Another process of a training on several machines is gone."""


class MissingLibrary(EdgeferError, ImportError):
    """An optional library is absent; the text names what to install."""
