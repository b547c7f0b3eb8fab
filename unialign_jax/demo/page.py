"""The page: four tabs over one model.

Components have an `elem_id` of their tab and name, e.g. `edit-text`, by which
a test or a style finds them.
"""

import functools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import gradio as gr

from unialign_jax.demo import actions as actions_lib
from unialign_jax.demo import examples as examples_lib
from unialign_jax.diffusion import flow
from unialign_jax.sampling import text as text_sampling
from unialign_jax.use import settings as settings_lib

_SLOTS = 4  # condition images, at most
_TITLE = "UniAlignment"
_INTRODUCTION = """# UniAlignment
One diffusion transformer that draws, edits, perceives and personalises, and
that captions and answers. Model: `{name}`. Pictures may have {limits}."""
_QUEUE = 16  # visitors who may wait
# Fonts of the visitor's machine: the page asks no other server for anything.
_FONTS = ["system-ui", "sans-serif"]
_THEME = gr.themes.Default(font=_FONTS, font_mono=["monospace"])
# Pictures fill their frame; those of a small model keep their pixels.
_STYLE = """
.result img {width: 100%; height: 100%; object-fit: contain}
.small img {image-rendering: pixelated}
"""
_SMALL = 256  # pixels


def build(
  actions: actions_lib.Actions,
  examples: examples_lib.Examples,
  *,
  name: str,
  limits: str,
  for_images: settings_lib.ImageSettings,
  for_texts: settings_lib.TextSettings,
) -> gr.Blocks:
  """The page, ready to be launched.

  Args:
    actions: what clicks do.
    examples: what can be clicked to begin with.
    name: of the model.
    limits: of uploaded pictures, in words.
    for_images: defaults of pictures.
    for_texts: defaults of texts.
  """
  with gr.Blocks(
    title=_TITLE, analytics_enabled=False, delete_cache=(3600, 3600)
  ) as page:
    gr.Markdown(_INTRODUCTION.format(name=name, limits=limits))
    with gr.Tab("Generate"):
      _generate(actions, examples, for_images)
    with gr.Tab("Edit and perceive"):
      _edit(actions, examples, for_images)
    with gr.Tab("Personalise"):
      _personalise(actions, examples, for_images)
    with gr.Tab("Understand"):
      _understand(actions, examples, for_texts)
  return page.queue(max_size=_QUEUE, default_concurrency_limit=1)


def launch(page: gr.Blocks, **settings: Any) -> str:
  """Serves in threads; `settings` are of `gradio.Blocks.launch`.

  Returns:
    Where to open the page.

  Raises:
    OSError: an address or port that is not to be had.
  """
  _, url, _ = page.launch(
    theme=_THEME,
    css=_STYLE,
    footer_links=[],
    share=False,
    # Gradio looks at the head of a file first; what it says is told too.
    show_error=True,
    quiet=True,
    prevent_thread_lock=True,
    **settings,
  )
  return url


def _generate(
  actions: actions_lib.Actions,
  examples: examples_lib.Examples,
  defaults: settings_lib.ImageSettings,
) -> None:
  with gr.Row():
    with gr.Column():
      text = gr.Textbox(label="Prompt", elem_id="generate-text")
      drawing = _Drawing("generate", "Generate", defaults)
      gr.Examples([[p] for p in examples.prompts] or [[""]], [text])
    drawing.show(functools.partial(actions.draw, "generate"), text, [])


def _edit(
  actions: actions_lib.Actions,
  examples: examples_lib.Examples,
  defaults: settings_lib.ImageSettings,
) -> None:
  with gr.Row():
    with gr.Column():
      image = _upload("edit-image", "Picture")
      text = gr.Textbox(label="Instruction", elem_id="edit-text")
      kinds = gr.Dropdown(
        list(examples.wordings),
        label="... or the instruction of a map",
        value=None,
        elem_id="edit-kind",
      )
      kinds.input(examples.wordings.get, kinds, text, api_visibility="private")
      drawing = _Drawing("edit", "Edit", defaults)
      if examples.edits:
        gr.Examples([list(row) for row in examples.edits], [image, text])
    drawing.show(functools.partial(actions.draw, "edit"), text, [image])


def _personalise(
  actions: actions_lib.Actions,
  examples: examples_lib.Examples,
  defaults: settings_lib.ImageSettings,
) -> None:
  with gr.Row():
    with gr.Column():
      images = []
      for first in range(1, _SLOTS, 2):
        with gr.Row():
          for i in (first, first + 1):
            images.append(_upload(f"personalise-image-{i}", f"Subject {i}"))
      text = gr.Textbox(label="Prompt", elem_id="personalise-text")
      drawing = _Drawing("personalise", "Draw", defaults)
      if examples.subjects:
        rows = [list(row) for row in examples.subjects]
        gr.Examples(rows, [*images[:2], text])
    drawing.show(functools.partial(actions.draw, "personalise"), text, images)


def _understand(
  actions: actions_lib.Actions,
  examples: examples_lib.Examples,
  defaults: settings_lib.TextSettings,
) -> None:
  with gr.Row():
    with gr.Column():
      image = _upload("understand-image", "Picture")
      question = gr.Textbox(
        label="Question",
        placeholder="empty for a caption",
        elem_id="understand-text",
      )
      with gr.Row():
        button = gr.Button(
          "Understand", variant="primary", elem_id="understand-go"
        )
        stop = gr.Button("Stop", elem_id="understand-stop")
      with gr.Accordion("Settings", open=False):
        seed = _seed("understand")
        settings = {
          "steps": gr.Slider(1, 256, defaults.steps, step=1, label="Steps"),
          "schedule": gr.Dropdown(
            list(text_sampling.SCHEDULES),
            value=defaults.schedule,
            label="Schedule",
          ),
          "temperature": gr.Slider(
            0, 2, defaults.temperature, label="Temperature"
          ),
        }
      if examples.questions:
        rows = [list(row) for row in examples.questions]
        gr.Examples(rows, [image, question])
    with gr.Column():
      answer = gr.Textbox(
        label="Text", lines=4, buttons=["copy"], elem_id="understand-result"
      )

  def write(file: str, asked: str, seed: float, *values: Any) -> str:
    named = dict(zip(settings, values))
    return actions.write(file, asked, seed=seed, **named)

  inputs = [image, question, seed, *settings.values()]
  event = button.click(write, inputs, answer, api_name="understand")
  stop.click(None, cancels=[event], api_visibility="private")


class _Drawing:
  """Button, settings and picture of a tab that draws."""

  def __init__(
    self, tab: str, label: str, defaults: settings_lib.ImageSettings
  ) -> None:
    self._tab = tab
    self._style = ["result", *(["small"] if defaults.size < _SMALL else [])]
    with gr.Row():
      self._button = gr.Button(label, variant="primary", elem_id=f"{tab}-go")
      self._stop = gr.Button("Stop", elem_id=f"{tab}-stop")
    with gr.Accordion("Settings", open=False, elem_id=f"{tab}-settings"):
      with gr.Row():
        self._seed = _seed(tab)
        self._is_random = gr.Checkbox(
          True, label="A new seed each time", elem_id=f"{tab}-random"
        )
      self._negative = gr.Textbox(label="Negative prompt")
      preset = gr.Dropdown(
        list(settings_lib.PRESETS),
        value=None,
        label="Preset of solver and steps",
        elem_id=f"{tab}-preset",
      )
      self._settings = {
        "solver": gr.Dropdown(
          list(flow.SOLVERS), value=defaults.solver, label="Solver"
        ),
        "steps": gr.Slider(
          1, 100, defaults.steps, step=1, label="Steps", elem_id=f"{tab}-steps"
        ),
        "guidance": gr.Slider(0, 20, defaults.guidance, label="Guidance"),
        "guidance_rescale": gr.Slider(
          0, 1, defaults.guidance_rescale, label="Guidance rescale"
        ),
        "shift": gr.Slider(0.5, 6, defaults.shift, label="Timestep shift"),
      }
      preset.input(
        _solver_and_steps,
        preset,
        [self._settings["solver"], self._settings["steps"]],
        api_visibility="private",
      )
      if tab != "generate":
        self._settings["image_guidance"] = gr.Number(
          None, label="Guidance by image", info="empty: together with the text"
        )

  def show(
    self,
    draw: actions_lib.Draw,
    text: gr.Textbox,
    images: Sequence[gr.Image],
  ) -> None:
    """The picture's side, and what the button does."""
    tab = self._tab
    with gr.Column():
      # PNG: what it was made by stays in the file that is downloaded.
      picture = gr.Image(
        label="Picture",
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
        height=420,
        elem_id=f"{tab}-result",
        elem_classes=self._style,
      )
      status = gr.Markdown(elem_id=f"{tab}-status")

    def run(text: str, seed: float, *rest: Any) -> Iterator[actions_lib.Shown]:
      is_random, negative, *rest = rest
      settings, files = rest[: len(self._settings)], rest[len(self._settings) :]
      yield from draw(
        text,
        [file for file in files if file] if tab == "personalise" else files,
        negative=negative,
        seed=seed,
        is_random=is_random,
        **dict(zip(self._settings, settings)),
      )

    inputs = [
      *(text, self._seed, self._is_random, self._negative),
      *self._settings.values(),
      *images,
    ]
    outputs = [picture, self._seed, status]
    event = self._button.click(run, inputs, outputs, api_name=tab)
    self._stop.click(None, cancels=[event], api_visibility="private")


def _solver_and_steps(name: str) -> tuple[str, int]:
  preset = settings_lib.PRESETS[name]
  return preset["solver"], preset["steps"]


def _seed(tab: str) -> gr.Number:
  return gr.Number(0, precision=0, label="Seed", elem_id=f"{tab}-seed")


def _upload(elem_id: str, label: str) -> gr.Image:
  # Given on as the file that was sent: our reader decodes it, with its limits.
  return gr.Image(
    type="filepath",
    image_mode=None,
    sources=["upload", "clipboard"],
    label=label,
    elem_id=elem_id,
    height=240,
  )
