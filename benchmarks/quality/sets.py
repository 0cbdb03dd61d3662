"""The data sets: real ones, read from the files of installed wheels. Nothing is downloaded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

TEST = 0.25  # of the rows, in each split

# What the RAND experiment knew of a person before the year's visits to a doctor, and nothing computed from that.
RANDHIE = (
    "plan site coins tookphys year black income xage female educdec time num mhi disea physlm ghindx mdeoff pioff "
    "child hlthg hlthf hlthp"
)


@dataclass(frozen=True)
class Source:
    """Where a set lies and what of it is used.

    package: The module whose folder holds the file. It is not imported.
    file: Within that folder; for scikit-learn's own, the name of its loader.
    target: A column, or a function of the table.
    about: What is predicted.
    keep: The columns to learn from, separated by spaces; all but the target by default.
    drop: Those to leave out.
    categories: Those whose numbers are codes. Columns of text are categories by themselves.
    """

    package: str
    file: str
    target: str | Callable[[pd.DataFrame], pd.Series]
    about: str
    classifies: bool = True
    keep: str = ""
    drop: str = ""
    categories: str = ""
    reading: dict[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Why it can't be read here, or None."""
        return None if find_spec(self.package) else f"{self.package} not installed"

    def table(self) -> pd.DataFrame:
        """The file as it is."""
        if self.package == "sklearn":
            return getattr(datasets, self.file)(as_frame=True).frame
        spec = find_spec(self.package)
        assert spec is not None
        assert spec.origin is not None
        return pd.read_csv(Path(spec.origin).parent / self.file, **self.reading)


@dataclass(frozen=True)
class Table:
    """A set: x, with its categories as pandas' categories and its missing values as NaN, and y.

    y is of whole numbers from 0 where classes are predicted, and of floats otherwise.
    """

    name: str
    source: Source
    x: pd.DataFrame
    y: np.ndarray

    @property
    def classes(self) -> int:
        """How many there are; 0 where numbers are predicted."""
        return int(self.y.max()) + 1 if self.source.classifies else 0

    @property
    def categories(self) -> list[str]:
        """The columns that hold categories."""
        return list(self.x.select_dtypes("category").columns)

    @property
    def numbers(self) -> list[str]:
        """The columns that hold numbers."""
        return list(self.x.select_dtypes("number").columns)

    @cached_property
    def fingerprint(self) -> str:
        """Of the values, so that results of other data are not taken for results of these."""
        return f"{zlib.crc32(self.y.tobytes(), zlib.crc32(self.x.to_csv(index=False).encode())):08x}"

    def split(self, seed: int, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """(the rows to train on, at most max_rows; the rows to test on, a quarter of all), classes in proportion."""
        test = round(len(self.y) * TEST)
        kind = StratifiedShuffleSplit if self.source.classifies else ShuffleSplit
        splitter = kind(1, test_size=test, train_size=min(max_rows, len(self.y) - test), random_state=seed)
        return next(splitter.split(self.x, self.y))

    def line(self) -> str:
        """What it is, for a reader of the results."""
        kind = f"{self.classes} classes" if self.classes else "a number"
        holes = f", {self.x.isna().to_numpy().mean():.1%} of the values missing" if self.x.isna().any(axis=None) else ""
        columns = f"{len(self.numbers)} numeric and {len(self.categories)} categorical columns"
        name = "scikit-learn" if self.source.package == "sklearn" else self.source.package
        where = f"{name} {version(name)}, {self.source.file}"
        return f"{self.name}: {self.source.about} ({kind}); {len(self.y):,} rows, {columns}{holes}; {where}"


def load(name: str) -> Table:
    """The set of that name, rows without a target left out."""
    source = SETS[name]
    frame = source.table()
    target = source.target(frame) if callable(source.target) else frame[source.target]
    left_out = [*source.drop.split(), *([source.target] if isinstance(source.target, str) else [])]
    known = target.notna().to_numpy()
    x = frame[source.keep.split()] if source.keep else frame.drop(columns=left_out)
    x = x[known].reset_index(drop=True)
    coded = source.categories.split()
    codes = [column for column in x if column in coded or not pd.api.types.is_numeric_dtype(x[column])]
    x = x.astype(dict.fromkeys(x.columns.difference(codes), float))
    x = x.astype({column: str for column in codes if x[column].notna().all()}).astype(dict.fromkeys(codes, "category"))
    y = target[known].to_numpy()
    return Table(name, source, x, np.unique(y, return_inverse=True)[1] if source.classifies else y.astype(float))


SETS = {
    "digits": Source("sklearn", "load_digits", "target", "the digit of 8 x 8 pixels"),
    "wine": Source("sklearn", "load_wine", "target", "the cultivar of a wine"),
    "breast_cancer": Source("sklearn", "load_breast_cancer", "target", "whether a tumour is benign"),
    "segment": Source("river", "datasets/segment.csv.zip", "category", "what a piece of an outdoor image shows"),
    "phishing": Source("river", "datasets/phishing.csv.gz", "is_phishing", "whether a web page is for phishing"),
    "yeast": Source(
        "river",
        "datasets/yeast.csv.gz",
        "Class2",
        "whether a gene has the second of 14 functions, the one nearest to half",
        drop=" ".join(f"Class{i}" for i in range(1, 15) if i != 2),
    ),
    "shuttle": Source("river", "datasets/shuttle.csv.gz", "anomaly", "whether a shuttle's radiator is anomalous"),
    "solar_flare": Source(
        "river",
        "datasets/solar-flare.csv.zip",
        lambda table: table["c-class-flares"] > 0,
        "whether a region of the sun flares within a day",
        drop="c-class-flares m-class-flares x-class-flares",
    ),
    "fair": Source(
        "statsmodels",
        "datasets/fair/fair.csv",
        lambda table: table["affairs"] > 0,
        "whether a wife has affairs",
        drop="affairs",
        categories="occupation occupation_husb",
    ),
    "anes96": Source(
        "statsmodels",
        "datasets/anes96/anes96.csv",
        "vote",
        "the vote for Clinton or Dole",
        reading={"sep": "\t", "quotechar": "'"},
    ),
    "penguins": Source("plotnine", "data/penguins.csv", "sex", "the sex of a penguin"),
    "diabetes": Source("sklearn", "load_diabetes", "target", "the disease a year later", classifies=False),
    "diamonds": Source("plotnine", "data/diamonds.csv", "price", "the price of a diamond", classifies=False),
    "txhousing": Source(
        "plotnine",
        "data/txhousing.csv",
        "median",
        "the median price of houses sold in a city in a month",
        classifies=False,
        drop="volume date",
    ),
    "mpg": Source(
        "plotnine", "data/mpg.csv", "hwy", "a car's miles a gallon on highways", classifies=False, drop="cty"
    ),
    "midwest": Source(
        "plotnine",
        "data/midwest.csv",
        "percbelowpoverty",
        "the share of a county's people below the poverty line",
        classifies=False,
        drop="PID county category poppovertyknown percpovertyknown percchildbelowpovert percadultpoverty "
        "percelderlypoverty",
    ),
    "randhie": Source(
        "statsmodels",
        "datasets/randhie/src/randhie.csv",
        "mdvis",
        "visits to a doctor in a year",
        classifies=False,
        keep=RANDHIE,
        categories="plan site",
    ),
    "star98": Source(
        "statsmodels",
        "datasets/star98/star98.csv",
        lambda table: table["PR50M"] / table["MATHTOT"],
        "the share of a Californian district's pupils above the median in mathematics",
        classifies=False,
        keep="LOWINC PERASIAN PERBLACK PERHISP PERMINTE AVYRSEXP AVSALK PERSPENK PTRATIO PCTAF PCTCHRT PCTYRRND",
    ),
}
