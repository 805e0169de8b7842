"""Fixed extractors: what turns pictures or texts into the features that heads learn from.

One file each, with a card. An extractor is an `Encoder` of one side with three more attributes: `side`
("image" or "text"), `hyperparameters` (JSON; the constructor's arguments) and `fingerprint`. One that is
fitted to training texts (bow, tfidf, lsa, tokens) also has `fit`, `fitted`, `arrays` and `restore`; one whose
name may carry a number (``pixels:96``) says in `variant` which parameter that is. `pixels` and `tokens` give
arrays of integers, for systems with networks of their own for pictures and words.

From names to a trained run and back::

    extractors = named("image=clip:vit-b-32@openai,text=lsa")  # by side
    data = Featured(dataset, extractors)       # of `diptych.data.views`: fits on the training split, extracts
    catalogue.save(join(head, **extractors), run)   # card.json, features/image.json, features/text.json ...
    catalogue.load(run)                        # encodes raw pictures and texts

`diptych.data.extracted.extract` does one split by hand.
"""

from __future__ import annotations

from diptych.catalogue.extractors import make, named

__all__ = ["make", "named"]
