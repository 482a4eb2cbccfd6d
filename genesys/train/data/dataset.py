"""Corpora of the `datasets` library: a name on the Hugging Face hub, or a folder; read as a stream, in slices."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError, TransientError
from genesys.tokens import is_hub_name
from genesys.train.data.parts import Deal

MAX_SLICES = 64
"""Of one split of one subset; a slice is read by one process and is the least that an interrupted packing repeats."""
_HELD_OUT_SHARE, _MIN_HELD_OUT = 0.01, 1_000_000
_DEALS: Mapping[str, Deal] = {"train": "train", "val": "val", "test": "test", "eval": "held-out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCorpus:
    """A data set, as a configuration names it.

    Attributes:
        dataset: Name on the hub, or a folder with the files of a data set.
        subsets: Configurations of the data set: a mapping to weights (shares of `tokens`, summing to anything), a list
            for equal shares, or nothing for a data set without.
        splits: The data set's split for each of ours: train, val, test, or eval, which is dealt to val and test by the
            hash of each text. With train alone it is dealt to all three.
        text: The column that is read.
        tokens: How many tokens to train on; 0 for all there are. Of eval, val and test a hundredth as many are read,
            at least a million. A subset that ends before its share is filled is taken whole.
        revision: Commit or tag of the data set on the hub. Without it, what was prepared once is not prepared anew.
    """

    dataset: str
    subsets: Mapping[str, float] | tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train"})
    text: str = "text"
    tokens: float = 0
    revision: str | None = None

    def __post_init__(self) -> None:
        for name, weight in self._weights().items():
            if not (isinstance(weight, (int, float)) and weight > 0 and math.isfinite(weight)):
                raise ConfigError(f"Cannot weigh subset {name!r} with {weight!r}; expected a number above 0.")
        if isinstance(self.subsets, Mapping) and len(set(self.subsets.values())) > 1 and not self.tokens:
            raise ConfigError(
                "Cannot weigh subsets when all tokens are read. Set corpus.tokens, or list the subsets without weights."
            )
        if not 0 <= self.tokens < math.inf:
            raise ConfigError(f"Cannot read {self.tokens} tokens of a data set; expected 0 (all) or more.")
        held_out = set(self.splits) - {"train"}
        if "train" not in self.splits or held_out not in (set(), {"eval"}, {"val", "test"}):
            raise ConfigError(
                f"Cannot use corpus.splits with {', '.join(self.splits) or 'nothing'}; "
                f"expected train alone, train and eval, or train, val and test."
            )

    @property
    def name(self) -> str:
        return f"dataset:{self.dataset}"

    @property
    def sources(self) -> Mapping[str, str]:
        return {key: json.dumps(value, sort_keys=True) for key, value in asdict(self).items() if key != "dataset"}

    @property
    def stamp(self) -> str:
        """The settings, and names, sizes and times of the files where the data set is a folder."""
        folder = _folder(self.dataset)
        files = sorted(f for f in folder.rglob("*") if f.is_file()) if folder else []
        found = [asdict(self), [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]]
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def parts(self) -> Sequence[DatasetPart]:
        weights = self._weights() or {"": 1.0}
        return [
            part
            for subset, weight in weights.items()
            for ours, theirs in self.splits.items()
            for part in self._slices(subset, ours, theirs, weight / sum(weights.values()))
        ]

    def _slices(self, subset: str, ours: str, theirs: str, share: float) -> Iterator[DatasetPart]:
        whole = DatasetPart(
            dataset=self.dataset, subset=subset, source_split=theirs, text=self.text, revision=self.revision,
            deal="all" if len(self.splits) == 1 else _DEALS[ours],
        )  # fmt: skip
        n = min(whole.n_files(), MAX_SLICES)
        budget = self.tokens if ours == "train" else max(_MIN_HELD_OUT, self.tokens * _HELD_OUT_SHARE)
        max_tokens = math.ceil(share * budget / n) if self.tokens else 0
        for index in range(n):
            yield DatasetPart(
                **{key: getattr(whole, key) for key in ("dataset", "subset", "source_split", "text", "revision", "deal")},
                index=index, n_slices=n, max_tokens=max_tokens,
            )  # fmt: skip

    def _weights(self) -> Mapping[str, float]:
        return self.subsets if isinstance(self.subsets, Mapping) else dict.fromkeys(self.subsets, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPart:
    """One slice of one split of one subset: every n-th of its files."""

    dataset: str
    subset: str
    source_split: str
    text: str
    revision: str | None
    deal: Deal
    index: int = 0
    n_slices: int = 1
    max_tokens: int = 0

    @property
    def text_bytes(self) -> int:
        return 0

    def n_files(self) -> int:
        """How many slices there can be."""
        return max(1, int(self._stream().num_shards))

    def documents(self) -> Iterator[str]:
        rows = self._stream().shard(num_shards=self.n_slices, index=self.index)
        try:
            for row in rows:
                text = row.get(self.text)
                if not isinstance(text, str):
                    raise self._refused(f"a row has no text in column {self.text!r}, but columns {', '.join(row)}")
                if text.strip():
                    yield text
        except ConfigError:
            raise
        except Exception as error:  # each kind of file, and the network, has errors of its own
            raise TransientError(
                f"Cannot read on in {self._label}: {_short(error)}. Start again; what is packed stays packed."
            ) from error

    def _stream(self) -> Any:
        try:
            from datasets import load_dataset
        except ImportError:
            raise self._refused(
                "datasets is not installed; expected genesys-evolution[eval]. Install it, or use text:PATH"
            ) from None
        folder = _folder(self.dataset)
        place = str(folder or self.dataset)
        revision = {} if folder or self.revision is None else {"revision": self.revision}
        try:
            rows = load_dataset(place, self.subset or None, split=self.source_split, streaming=True, **revision)
        except (FileNotFoundError, ValueError, TypeError, KeyError) as error:  # no such data set, subset, split
            raise self._refused(
                f"{_short(error)}; expected a folder or a name on the hub, with that subset and split. Correct `corpus`"
            ) from None
        except OSError as error:
            raise TransientError(
                f"Cannot reach {self._label}: {_short(error)}. Look at the name and the network."
            ) from None
        if rows.features is not None and self.text not in rows.features:
            raise self._refused(f"it has no column {self.text!r}, but {', '.join(rows.features)}. Set corpus.text")
        return rows.select_columns([self.text]) if rows.features is not None else rows

    @property
    def _label(self) -> str:
        return (
            f"data set {self.dataset!r}"
            + (f", subset {self.subset!r}" if self.subset else "")
            + f", split {self.source_split!r}"
        )

    def _refused(self, reason: str) -> ConfigError:
        return ConfigError(f"Cannot read {self._label}: {reason.rstrip('.')}.")


def _folder(dataset: str) -> Path | None:
    """The folder of a data set, or None for one on the hub."""
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_name(dataset):
        raise ConfigError(
            f"Cannot read data set {dataset!r}: there is no such folder; expected a folder with its files, or a name on "
            f"the hub. Correct `corpus.dataset`."
        )
    return None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
