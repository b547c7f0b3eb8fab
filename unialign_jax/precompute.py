"""Writes a feature set: a data set through the frozen encoders.

  python -m unialign_jax.precompute --config=features.py --source=anyedit \\
    --root=DATA --out=FEATURES/anyedit [--option=key=value ...] \\
    [--captions=FILE] [--worker=i/n] [--config.group.key=value ...]

The same command again goes on where a run ended, however it ended. Any number
of workers share the work: --worker=i/n, or as SLURM or Kubernetes number them
(see features/worker.py). Afterwards

  python -m unialign_jax.precompute --merge --out=FEATURES/anyedit

finishes a set whose shards were copied into one folder, and

  python -m unialign_jax.precompute --verify --out=FEATURES/anyedit

reads all of it again.
"""

if __name__ == "__main__":
  # Here, because every decode process imports this file, and is to do without
  # JAX and the encoders.
  from unialign_jax.features import command

  command.cli()
