"""What storing a picture does to it: JPEG and H.264 there and back."""

import io

import av
import cv2
import numpy as np


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB (H, W, 3) after JPEG of this quality (0 to 100)."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """uint8 RGB (T, H, W, 3), H and W even, after H.264 of this constant rate factor (0 to 51, 23 is usual),
    colours at half resolution, as a clip of its own."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="h264") as file:
        options = {
            "crf": str(crf),
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x264-params": "log-level=none",
        }
        stream = file.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # One thread, here and below: the result must not depend on the machine.
        stream.thread_count = 1
        for frame in frames:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        file.mux(stream.encode(None))
    stored.seek(0)
    with av.open(stored, format="h264") as file:
        file.streams.video[0].thread_count = 1
        decoded = [frame.to_ndarray(format="yuv420p") for frame in file.decode(video=0)]
    return np.stack([cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420) for planes in decoded])
