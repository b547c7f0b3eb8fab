"""The flags that name a judge, for every command that asks one."""

from collections.abc import Callable

from absl import flags

from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import vlm_judge

_LOCAL = "local:"


def define(
  max_tokens: int | None = None,
) -> Callable[[], judge_lib.Judge | None]:
  """Defines --judge and what belongs to it.

  Args:
    max_tokens: default of a reply's length; None for that of `Settings`.

  Returns:
    What opens the judge once flags are parsed; None where none is named. It
    raises ValueError where the flags do not fit each other, and
    `vlm.asking.Unusable` where the judge cannot be asked.
  """
  where = flags.DEFINE_string(
    "judge",
    None,
    "Who judges: an OpenAI-compatible address, usually ending in /v1, its key"
    " in OPENAI_API_KEY; or local: and a folder or hub id of a model.",
  )
  model = flags.DEFINE_string(
    "judge_model", None, "The model's name at the address."
  )
  default = vlm_judge.Settings()
  numbers = {
    "temperature": flags.DEFINE_float(
      "judge_temperature",
      default.temperature,
      "0 is greedy; below 0 leaves it to the server, for those that refuse it.",
    ),
    "max_tokens": flags.DEFINE_integer(
      "judge_max_tokens",
      max_tokens or default.max_tokens,
      "Of a reply.",
      lower_bound=1,
    ),
    "seed": flags.DEFINE_integer("judge_seed", default.seed, "Of its replies."),
    "concurrency": flags.DEFINE_integer(
      "judge_concurrency", default.concurrency, "Requests at once.", 1
    ),
    "timeout": flags.DEFINE_float(
      "judge_timeout", default.timeout, "Seconds to wait for a reply.", 0.1
    ),
    "retries": flags.DEFINE_integer(
      "judge_retries", default.retries, "Of a request that got lost.", 0
    ),
  }

  def opened() -> judge_lib.Judge | None:
    values = {name: holder.value for name, holder in numbers.items()}
    if values["temperature"] < 0:
      values["temperature"] = None
    return open_judge(where.value, model.value, vlm_judge.Settings(**values))

  return opened


def open_judge(
  where: str | None,
  model: str | None = None,
  settings: vlm_judge.Settings | None = None,
) -> judge_lib.Judge | None:
  """The judge that --judge and --judge_model name.

  Args:
    where: an address, or "local:" and a folder or hub id; None for none.
    model: its name at the address.
    settings: how it is asked; None for the defaults.

  Raises:
    ValueError: a name where none belongs, or none where one does.
    Unusable: the judge cannot be asked.
  """
  settings = settings or vlm_judge.Settings()
  if not where:
    if model:
      raise ValueError(
        f"--judge_model: got {model!r} without --judge, expected the address"
        " where the model is served"
      )
    return None
  if where.startswith(_LOCAL):
    if model:
      raise ValueError(
        f"--judge_model: got {model!r} with --judge={where}, expected one of"
        " them; local: names the model"
      )
    return vlm_judge.here(where.removeprefix(_LOCAL), settings)
  if not model:
    raise ValueError(
      "--judge_model: got none, expected the name under which the judge's"
      " server serves its model"
    )
  return vlm_judge.at_endpoint(where, model, settings)
