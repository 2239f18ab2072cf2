"""Live: the route for the frames of a camera, and the data that the stage draws over the running video.

The route is no Gradio event. An event would take three requests for each frame, and keep the frame as a file
for an hour. Here one request carries one JPEG, and its answer is one JSON object (`drawing`). `serving.guard`
checks the origin and the size of the request first.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from gradio.context import LocalContext
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from answer.result import names
from answer.settings import check_clip_detail
from marks import fixed_colors, shown_score
from photo.errors import ImageError
from serving.guard import LIVE_ROUTE, LIVE_STOP_ROUTE
from serving.live import Live, Seen, Wanted
from serving.scheduler import Busy
from serving.service import Service
from ui import links, overlay

UNKNOWN = [200, 200, 200]
"""The RGB colour of an object without a track."""


def live_routes(service: Service) -> list[Route]:
    """Returns the routes for frames (POST, the body is a picture file) and for the end of a visitor's visit.

    The query of both names the visitor's place as "place". The query of a frame also holds the settings, as
    the page's address does (`ui.links`). The answer is `drawing` with the "place", or {"detail": sentence}.
    """
    live = Live(service)

    async def look(http: Request) -> Response:
        token = http.query_params.get("place", "")
        LocalContext.request.set(gr.Request(http, session_hash=token or None))
        try:
            async with service.request("live") as request:
                settings, faults = links.read_query(http.url.query)
                if faults:
                    raise ImageError(f"{', '.join(faults)}: this setting cannot be read.")
                check_clip_detail(settings["detail"])
                least = min(settings["score_threshold"], *settings["thresholds"].values(), 1.0)
                wanted = Wanted(settings["model"], settings["detail"], least)
                place, drawn = await live.look(
                    token, await http.body(), wanted, request, lambda seen: drawing(seen, settings)
                )
            return JSONResponse(drawn | {"place": place})
        except gr.Error as error:
            status = 503 if isinstance(error.__cause__, Busy) else 400
            return JSONResponse({"detail": error.message}, status)

    async def stop(http: Request) -> Response:
        live.leave(http.query_params.get("place", ""))
        return Response(status_code=204)

    return [
        Route(LIVE_ROUTE, look, methods=["POST"]),
        Route(LIVE_STOP_ROUTE, stop, methods=["POST"]),
    ]


def drawing(seen: Seen, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns what the stage draws: the objects in view, the largest first.

    Outlines run along the pixel edges of the masks at the frame's `width` x `height`. Boxes are x1 y1 x2 y2
    as shares of the width and the height. `track` is 0 for an object without a track.

    Args:
        settings: `score_threshold`, `thresholds`, `mask_threshold` and `without`, as `links.read_query`
            gives them.
    """
    found = seen.detections
    height, width = found.image_size
    kinds = names(found, seen.categories)
    colors = fixed_colors(seen.track_ids).tolist()
    shares = np.array([overlay.shares(found, i) for i in range(len(found))]).reshape(-1, 4)
    sides = shares[:, 2:] - shares[:, :2]
    objects = []
    for i in np.argsort(-sides.prod(axis=1), kind="stable").tolist():
        least = settings["thresholds"].get(kinds[i], settings["score_threshold"])
        if found.scores[i] < least or kinds[i] in settings["without"]:
            continue
        path, _ = overlay.outline(found, i, found.image_size, settings["mask_threshold"])
        track = int(seen.track_ids[i])
        objects.append(
            {
                "track": track,
                "name": kinds[i],
                "score": float(shown_score(found.scores[i], 4)),
                "box": shares[i].tolist(),
                "path": path,
                **overlay.fill_and_ink(colors[i] if track else UNKNOWN),
            }
        )
    return {"width": width, "height": height, "words": seen.words, "objects": objects}
