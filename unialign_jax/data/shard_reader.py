"""Records of one shard by position; storage that fails is asked again.

Two kinds of trouble are told apart. Bytes that were read and are not what was
written are a damaged record, a `RecordError`: it may be replaced. Storage that
does not give the bytes (the file is gone, the permission, an I/O error of a
network) says nothing about the record: it is asked again with a new handle,
and then the run ends, for a record left out here would be left out in silence.
"""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from absl import logging
from array_record.python import array_record_module
from etils import epath

from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema

# Seconds before each further attempt; what lasts longer is for a supervisor.
PAUSES = (1.0, 2.0, 4.0, 8.0)
# As grain has them: nothing is read ahead where records are drawn at random.
_OPTIONS = "readahead_buffer_size:0"
_BUFFER = 2**15
# ArrayRecord raises RuntimeError for all; a failed system call is named first.
_SYSTEM_CALL = re.compile(r"\w+\(\) failed: ")


class ShardError(RuntimeError):
  """A shard that could be read when the run began, and no longer can."""


class ShardReader:
  """Random access to the records of a shard, for many threads.

  Args:
    path: Of the shard; it is opened at the first read.
    shard: Its entry in the manifest.
    sleep: Waits so many seconds.
  """

  def __init__(
    self,
    path: epath.Path,
    shard: manifest_lib.Shard,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self._path = path
    self._shard = shard
    self._sleep = sleep
    self._reader: Any = None
    self._lock = threading.Lock()

  def read(self, position: int) -> bytes:
    """The bytes of a record.

    Raises:
      RecordError: what is there is not what was written.
      ShardError: the storage does not give it.
    """
    for pause in (*PAUSES, None):
      try:
        return self._opened().read([position])[0]
      except ShardError:
        raise
      except RuntimeError as e:
        if not _SYSTEM_CALL.search(str(e)):
          raise schema.RecordError("chunk", e, "one that is whole") from e
        error = e
      self._reader = None  # its error stays, whatever the storage does
      if pause is not None:
        logging.warning(
          "%s: got %s; asking again in %g s", self._path, error, pause
        )
        self._sleep(pause)
    raise self._gone(str(error)) from error

  def check(self) -> None:
    """Tells a damaged record from a shard that was changed under the run.

    Raises:
      ShardError: the file has another size than the manifest says.
    """
    try:
      size = files.size(self._path)
    except OSError as e:
      raise self._gone(str(e)) from e
    if size != self._shard.bytes:
      got = "no file" if size is None else f"{size} bytes"
      raise self._gone(f"{got} (expected {self._shard.bytes} bytes)")

  def _opened(self) -> Any:
    with self._lock:
      if (reader := self._reader) is None:
        reader = array_record_module.ArrayRecordReader(
          str(self._path), options=_OPTIONS, file_reader_buffer_size=_BUFFER
        )
        # Where opening failed it has no records; reading tells why.
        if (count := reader.num_records()) != self._shard.records:
          reader.read([0])
          raise self._gone(f"{count} records instead of {self._shard.records}")
        self._reader = reader
      return reader

  def _gone(self, reason: str) -> ShardError:
    return ShardError(
      f"shard {self._path}: got {reason}, expected what was there when the run"
      " began; mend the storage or copy the shard again, and start the run"
      " again: it goes on from its last checkpoint"
    )
