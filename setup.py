"""Installs the package; exact versions are pinned in constraints.txt."""

import setuptools

setuptools.setup(
  name="unialign_jax",
  version="0.1.0",
  description="UniAlignment (arXiv 2509.23760) in JAX/Flax",
  python_requires=">=3.11,<3.13",
  packages=setuptools.find_packages(include=["unialign_jax", "unialign_jax.*"]),
  package_data={
    "unialign_jax.data.sources.paraphrases": ["*.txt"],
    "unialign_jax.shapes.weights": [
      "README.md",
      "*.json",
      "*/*.json",
      "*/*.safetensors",
    ],
  },
  install_requires=[
    "absl-py",
    "array_record",
    "clu",
    "etils[epath]",
    "flax",
    "grain",
    "huggingface_hub",
    # tfds imports it without declaring it.
    "importlib_resources",
    "jax>=0.10.2",
    "matplotlib",
    "ml-collections",
    "numpy",
    "optax",
    "orbax-checkpoint",
    "pyarrow",
    "pillow",
    "safetensors",
    "scikit-image",
    "scipy",
    "tensorboardX",
    "tensorflow-datasets",
    "tokenizers",
    "tqdm",
    "transformers",
  ],
  extras_require={
    # Qwen2.5-VL features; torch brings the device build of the user's choice.
    "encoders": ["torch", "transformers>=5"],
    # A web page over the model.
    "demo": ["gradio>=6"],
    # Plans for TPU slices that are not here: their compiler, for Linux.
    "plan": [
      "libtpu; sys_platform == 'linux' and platform_machine == 'x86_64'"
    ],
    # Products in int8 or fp8 when the model is used.
    "quantize": ["qwix"],
    # Its attention kernels, config.model.attention = "tokamax".
    "tokamax": ["tokamax"],
    # Captions from an OpenAI-compatible endpoint.
    "recaption": ["openai"],
    # Benchmarks that a model at such an endpoint judges.
    "judge": ["openai"],
    # The model for clients of OpenAI's protocol.
    "serve": ["python-multipart", "starlette", "uvicorn"],
    "test": [
      # `transformers serve` loads models with it.
      "accelerate",
      # What lmms-eval imports; it comes without its hundred requirements, by
      # launch/test.sh.
      "datasets",
      "diffusers",
      "evaluate",
      "gradio>=6",
      "hypothesis",
      "libtpu; sys_platform == 'linux' and platform_machine == 'x86_64'",
      "loguru",
      "openai",
      "openpyxl",
      # Drives the Chromium of the system; brings none.
      "playwright",
      "pytablewriter",
      "pytest",
      "pytest-timeout",
      "pytest-xdist",
      "python-dotenv",
      "python-multipart",
      "pyyaml",
      "qwix",
      "ruff",
      "sacrebleu",
      "starlette",
      "tenacity",
      "tokamax",
      "torch",
      "uvicorn",
    ],
  },
  # lmms-eval finds the model by this: docs/benchmarks.md.
  entry_points={
    "lmms_eval.models": ["unialign_jax = unialign_jax.lmms.manifest:manifest"]
  },
)
