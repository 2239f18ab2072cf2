"""Saving: makes the files that a visitor downloads, copies or shares, at the photo's original resolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from answer.files import check_format, cut_out_file, effect_file, export_file
from answer.result import View
from answer.settings import SettingsError
from clips.files import check_clip_export, export_clip
from serving.estimates import clip_bytes, effect_bytes, export_bytes
from serving.service import Service, keep, new_folder
from ui.film import FilmPage, clip_view
from ui.layout import Layout
from ui.many import ManyPage

EXPIRED = "There is no result to save (one is kept for an hour). Please send the photo again."
EVENT: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
DOWNLOAD = "(file) => document.querySelector('#saved').click()"
COPIED = "annotated"
"""The format of a picture that is copied. Clipboards take PNG only."""
SHARED = "jpeg"
COPY = """async (file) => {
  try {
    const blob = fetch(file.url).then((answer) => answer.blob());
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    document.querySelector("#copy").textContent = "Copied";
    setTimeout(() => { document.querySelector("#copy").textContent = "Copy picture"; }, 2000);
  } catch {
    document.querySelector("#saved").click();
  }
}"""
"""Puts the picture into the clipboard. Where the browser does not allow that, the picture is downloaded."""
SHARE = """async (file) => {
  const blob = await (await fetch(file.url)).blob();
  const picture = new File([blob], file.orig_name || "picture.jpg", { type: blob.type });
  if (navigator.canShare?.({ files: [picture] })) await navigator.share({ files: [picture] }).catch(() => {});
  else document.querySelector("#saved").click();
}"""
"""Opens the device's share sheet. Where there is none, the picture is downloaded."""


def add_saving(
    layout: Layout, run: gr.State, film: gr.State, clips: FilmPage, many: ManyPage, service: Service
) -> None:
    """Makes the buttons work that save something.

    Args:
        run: Holds the `ui.page.Run` that is on the stage, or None.
        film: Holds the `ui.film.Film` that is on the stage, or None.
        clips: Keeps the results of clips.
        many: Keeps the results of many photos.
    """
    saver = Saver(layout, run, film, clips, service)
    formats = {layout.format, layout.clip_format, layout.many_format, layout.soft}
    inputs = layout.inputs() | formats | {run, film}

    async def save_many(values: dict[Any, Any], progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """Writes what is in view in all photos in the chosen format."""
        return await many.save(values[layout.picture].get("photo"), values[layout.many_format], progress)

    layout.save_many.click(
        save_many, inputs, layout.file, show_progress_on=[layout.many_format], **EVENT
    ).success(None, layout.file, js=DOWNLOAD, api_visibility="private")
    for event, save, then in (
        (layout.save.click, saver.save, DOWNLOAD),
        (layout.copy.click, saver.save_to_copy, COPY),
        (layout.share.click, saver.save_to_share, SHARE),
        (layout.save_effect.click, saver.save_effect, DOWNLOAD),
        (layout.picture.cut_out, saver.save_cut_out, DOWNLOAD),
    ):
        event(save, inputs, layout.file, show_progress_on=[layout.format], **EVENT).success(
            None, layout.file, js=then, api_visibility="private"
        )


class Saver:
    """Writes files of what is in view, and returns their paths."""

    def __init__(
        self, layout: Layout, run: gr.State, film: gr.State, clips: FilmPage, service: Service
    ) -> None:
        self._layout, self._run, self._film, self._service = layout, run, film, service
        self._clips = clips

    async def save(self, values: dict[Any, Any], progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """Writes what is in view in the chosen format."""
        if values[self._film] is not None:
            return await self._save_clip(values, values[self._layout.clip_format], None, progress)
        return await self._save(values, values[self._layout.format], progress)

    async def save_to_copy(self, values: dict[Any, Any], progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """Writes the annotated picture for the clipboard."""
        return await self._save(values, COPIED, progress)

    async def save_to_share(self, values: dict[Any, Any], progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """Writes the annotated picture for the share sheet."""
        return await self._save(values, SHARED, progress)

    async def _save(self, values: dict[Any, Any], format: str, progress: gr.Progress) -> str:
        edges = self._edges(values)

        def write(view: View, on_stage: Any) -> Path:
            check_format(format, edges)
            folder = new_folder(export_bytes(view.shown, format))
            return export_file(view, format, folder, edges, on_stage)

        return await self._write("save", values, write, progress)

    async def _save_clip(
        self, values: dict[Any, Any], format: str, effect: str | None, progress: gr.Progress
    ) -> str:
        choices = self._layout.read(values)
        async with self._service.request("save clip", progress) as request:
            check_clip_export(format, effect, choices.color)
            result = self._clips.result(values[self._film])
            keep(result.path)
            view = clip_view(result, choices)
            folder = new_folder(clip_bytes(view, format))
            return str(
                await request.run(
                    lambda job: export_clip(view, format, folder, effect, choices.color, job.stage)
                )
            )

    async def save_effect(self, values: dict[Any, Any], progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """Writes the whole photo, or the clip, with the chosen effect."""
        choices = self._layout.read(values)
        if values[self._film] is not None:
            return await self._save_clip(values, "video", choices.effect, progress)

        def write(view: View, on_stage: Any) -> Path:
            return effect_file(view, choices.effect, new_folder(effect_bytes(view.shown)), choices.color)

        return await self._write("save effect", values, write)

    async def save_cut_out(self, values: dict[Any, Any], event: gr.EventData) -> str:
        """Writes the cut-out of the instance that was asked for."""
        id: Any = getattr(event, "id", None)
        edges = self._edges(values)

        def write(view: View, on_stage: Any) -> Path:
            return cut_out_file(view, id, new_folder(export_bytes(view.shown, "cutouts")), edges)

        return await self._write("save cut-out", values, write)

    async def _write(
        self, kind: str, values: dict[Any, Any], write: Callable[[View, Any], Path], progress: Any = None
    ) -> str:
        async with self._service.request(kind, *([progress] if progress else [])) as request:
            run = values[self._run]
            if run is None:
                raise SettingsError(EXPIRED)
            keep(run.result.path)
            view = self._layout.read(values).view(run.result)
            return str(await request.run(lambda job: write(view, job.stage)))

    def _edges(self, values: dict[Any, Any]) -> str:
        return "soft" if values[self._layout.soft] else "hard"
