"""XMedia and XMediaNet: pictures and texts of 20 and of 200 classes (Peng, Huang, Zhao; Peking University).

Home: http://www.icst.pku.edu.cn/mipl/XMedia (PKU Multimedia Information Processing Lab); access by a signed
  form
Files: xmedia: XMediaFeatures.mat with I_tr_CNN, T_tr_BOW, trImgCat, trTxtCat, I_te_CNN, T_te_BOW, teImgCat,
  teTxtCat. xmedianet: xmedianet_deep_doc2vec_data.h5py, or xmedianet.npz or .mat, with train_imgs_deep,
  train_text, train_imgs_labels, and the same for valid and test
Licence: research only, under the lab's form
Counts: xmedia: 4,000 train, 1,000 test, of which some papers validate on the first 500 and test on the
  other 500. xmedianet: 32,000 / 4,000 / 4,000 (as reported by the papers that use it)
Relevance: the same class

Only pictures and texts of the five media are read. Table 2 of the survey prints XMediaNet's results under the
heading "Xmedia"; the two are different sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diptych.data.base import Protocol, Split, multi_hot, paired_in_order
from diptych.data.originals import Files, Layout, Originals
from diptych.data.readers import arrays
from diptych.errors import BadData

__all__ = ["XMedia"]

_XMEDIA = "XMediaFeatures.mat|xmedia_features.mat"
_NET = "xmedianet_deep_doc2vec_data.h5py|xmedianet.npz|xmedianet.mat|xmedianet.h5"


def _read_xmedia(files: Files, _: str) -> Mapping[str, Split]:
    keys = [f"{side}_{part}_{kind}" for part in ("tr", "te") for side, kind in (("I", "CNN"), ("T", "BOW"))]
    data = arrays.load(files[_XMEDIA], *keys, "trImgCat", "teImgCat", "trTxtCat", "teTxtCat")
    found = {}
    for part, short in (("train", "tr"), ("test", "te")):
        image, text = np.ravel(data[f"{short}ImgCat"]), np.ravel(data[f"{short}TxtCat"])
        found[part] = _split(data[f"I_{short}_CNN"], data[f"T_{short}_BOW"], image - 1, text - 1, 20)
    return {
        **found,
        "val": found["test"].take(np.arange(500)),
        "test-500": found["test"].take(np.arange(500, 1000)),
    }


def _read_net(files: Files, _: str) -> Mapping[str, Split]:
    path = files[_NET]
    inside = arrays.names(path)
    found = {}
    for part, prefix in (("train", "train"), ("val", "valid"), ("test", "test")):
        text = next((key for key in (f"{prefix}_text", f"{prefix}_texts") if key in inside), f"{prefix}_text")
        keys = (f"{prefix}_imgs_deep", text, f"{prefix}_imgs_labels")
        data = arrays.load(path, *keys)
        numbers = np.ravel(data[keys[2]]).astype(np.int64)
        # The packs count classes from 0 or from 1.
        numbers -= min(int(numbers.min()), 1)
        found[part] = _split(data[keys[0]], data[keys[1]], numbers, numbers, 200)
    return found


def _split(image: Any, text: Any, image_class: Any, text_class: Any, classes: int) -> Split:
    if not np.array_equal(image_class, text_class):
        raise BadData("pictures and texts of XMedia differ in their order of classes, so they do not pair up")
    return Split(image, text, multi_hot(image_class, classes), paired_in_order(len(image)))


class XMedia(Originals):
    """The XMedia sets; see the module's docstring, and `Originals` for the arguments."""

    name = "xmedia"
    folders = ("XMedia", "xmedianet", "XMediaNet")
    variants: Mapping[str, tuple[Layout, ...]] = {
        "xmedia": (
            Layout(
                "XMediaFeatures.mat of the lab",
                dict.fromkeys(("train", "val", "test", "test-500"), ()),
                _read_xmedia,
                shared=(_XMEDIA,),
                sizes={
                    "train": (4000, 4000),
                    "val": (500, 500),
                    "test": (1000, 1000),
                    "test-500": (500, 500),
                },
            ),
        ),
        "xmedianet": (
            Layout(
                "features of the papers' codes",
                dict.fromkeys(("train", "val", "test"), ()),
                _read_net,
                shared=(_NET,),
                sizes={"train": (32000, 32000), "val": (4000, 4000), "test": (4000, 4000)},
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "xmedia": {
            "official": Protocol("test", "test", "label", note="4,000 / 1,000"),
            "deep": Protocol("test-500", "test-500", "label", validation="val", note="4,000 / 500 / 500"),
        },
        "xmedianet": {"official": Protocol("test", "test", "label", validation="val")},
    }
