"""An H.264 network camera, rtsp://127.0.0.1:PORT/camera, of the pictures in a folder: run by the system's Python, which has gi.

    /usr/bin/python3 rtsp_server.py FOLDER [PORT]

Prints its port when it is ready.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    '( multifilesrc location={}/%d.jpg loop=true caps="image/jpeg,framerate=25/1" ! jpegdec ! videoconvert ! video/x-raw,format=I420 '
    "! identity sync=true ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[2] if len(sys.argv) > 2 else "0")
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(PIPELINE.format(sys.argv[1]))
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
