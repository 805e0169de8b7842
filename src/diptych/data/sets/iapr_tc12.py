"""IAPR TC-12: 20,000 travel pictures with free descriptions (Grubinger et al. 2006).

Home: https://www.imageclef.org/photodata (ImageCLEF); the hashing form is passed on by the authors of DCMH
Files: dcmh: iapr-tc12-iall.mat, iapr-tc12-yall.mat, iapr-tc12-lall.mat. original: images/NN/*.jpg and
  annotations_complete_eng/NN/*.eng
Licence: free for research
Counts: 20,000 pictures; dcmh: 2,912 words, 255 labels (both unverified), 2,000 queries, 10,000 train,
  database 18,000
Seeds: dcmh: none, the order of the file; original: 1814 (numpy's RandomState)
Relevance: dcmh: sharing at least one label; original: the paired description

The original release has descriptions and no labels; the labels of the hashing papers come from its segmented
extension, so only `dcmh` serves Table 3's kind of evaluation. A description's parts, divided by semicolons,
are its captions.
"""

from __future__ import annotations

from collections.abc import Mapping

from diptych.data.base import Protocol, Split, captioned
from diptych.data.originals import Files, Layout, Originals, permuted
from diptych.data.pictures import pictures_in
from diptych.data.readers.hashing import hashing_protocol, matlab_layout
from diptych.errors import BadData

__all__ = ["IAPRTC12"]

_TEXTS = "annotations_complete_eng|annotations"


def _read(files: Files, _: str) -> Mapping[str, Split]:
    home = files[_TEXTS]
    names: list[str] = []
    captions: list[list[str]] = []
    for path in sorted(home.glob("*/*.eng")):
        # The files are Latin-1 and not well-formed XML.
        _, begun, rest = path.read_text(encoding="latin-1").partition("<DESCRIPTION>")
        said, ended, _ = rest.partition("</DESCRIPTION>")
        if not (begun and ended):
            raise BadData(f"{path} has no <DESCRIPTION>")
        names.append(path.relative_to(home).with_suffix(".jpg").as_posix())
        captions.append([part.strip() for part in said.split(";") if part.strip()])
    whole = captioned(pictures_in(files["images"], names), captions, image_id=names)
    rows = permuted(len(names), query=2000, train=10000, seed=1814)
    return {part: whole.take(some) for part, some in rows.items()}


class IAPRTC12(Originals):
    """The IAPR TC-12 set; see the module's docstring, and `Originals` for the arguments."""

    name = "iapr_tc12"
    folders = ("iaprtc12", "IAPR-TC12")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "dcmh": (matlab_layout("iapr-tc12", items=20000, query=2000, train=10000, seed=None),),
        "original": (
            Layout(
                "pictures and descriptions of ImageCLEF",
                dict.fromkeys(("train", "query", "database"), ()),
                _read,
                shared=("images", _TEXTS),
                sizes={"train": (10000, None), "query": (2000, None), "database": (18000, None)},
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "dcmh": hashing_protocol("2,000 / 10,000 / 18,000; file order, as DCMH's code"),
        "original": {
            "pair": Protocol("query", "query", "pair", note="descriptions; a cut of ours, seed 1814")
        },
    }
