"""The sources, detectors and sinks that edgefer ships: how a spec begins -> "module:Class", imported on use.

A beginning with ``//`` is an address in the network, in which users, passwords and queries are never shown.
"""

SOURCES = {
    "picamera:": "edgefer.sources.picamera:PiCamera",
    "opencv:": "edgefer.sources.camera:Camera",
    "file:": "edgefer.sources.file:File",
    "rtsp://": "edgefer.sources.stream:Stream",
    "http://": "edgefer.sources.stream:Stream",
    "https://": "edgefer.sources.stream:Stream",
    "tcp://": "edgefer.sources.stream:Stream",
    "udp://": "edgefer.sources.stream:Stream",
    "srt://": "edgefer.sources.stream:Stream",
    "images:": "edgefer.sources.images:Images",
    "synthetic:": "edgefer.sources.synthetic:Synthetic",
}

DETECTORS = {
    "haar": "edgefer.detectors.haar:Haar",
    "yunet": "edgefer.detectors.yunet:YuNet",
    "blazeface": "edgefer.detectors.yunet:YuNet",
}

SINKS = {
    "jsonl:": "edgefer.sinks.jsonl:JsonLines",
    "display:": "edgefer.sinks.display:Display",
    "snapshots:": "edgefer.sinks.snapshots:Snapshots",
    "status:": "edgefer.sinks.status:Status",
    "history:": "edgefer.sinks.history:HistorySink",
    "http://": "edgefer.sinks.web:Web",
    "web:": "edgefer.sinks.web:Web",
    "mqtt://": "edgefer.sinks.mqtt:Mqtt",
    "mqtts://": "edgefer.sinks.mqtt:Mqtt",
    "systemd:": "edgefer.sinks.systemd:Systemd",
}
