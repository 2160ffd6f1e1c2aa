#!/usr/bin/env python3
"""Makes teacher_forced.json: what an independent numpy forward pass predicts at each of 1,000 positions.

  make_teacher_forced.py ORACLE_DIR MODEL.gguf TEXT OUT.json [LOGITS.f32]

ORACLE_DIR holds the numpy oracle (kvlab.py). TEXT is tokenized, cut to 1,000 tokens; an earlier OUT.json gives
its token ids instead. Kept a position: the four most probable tokens with their log-probabilities. LOGITS.f32, if
named, gets all logits [1000][vocabulary] as raw fp32: KVCOMMONS_TEACHER_LOGITS=LOGITS.f32 engine_test then compares
whole distributions."""
import json
import os
import sys

oracle_dir, model_path, text_path, out_path = sys.argv[1:5]
sys.path.insert(0, oracle_dir)
os.environ["KVLAB_GGUF"] = model_path
import numpy as np
from kvlab import Model, log_softmax

COUNT, TOP = 1000, 4
model = Model(model_path)
if text_path.endswith(".json"):
    ids = json.load(open(text_path))["ids"]
else:
    ids = model.tok.encode(open(text_path, encoding="utf-8").read(), special=False)[:COUNT]
assert len(ids) == COUNT, f"the text has only {len(ids)} tokens"
_, _, hidden = model.prefill(ids)
logits = model.logits(hidden)
log_probabilities = log_softmax(logits)
top = np.argsort(-log_probabilities, axis=-1)[:, :TOP]
values = np.take_along_axis(log_probabilities, top, axis=-1)
with open(out_path, "w", encoding="utf-8") as out:
    json.dump({"ids": ids, "top_ids": top.tolist(),
               "top_log_probabilities": [[round(float(v), 6) for v in row] for row in values]}, out,
              separators=(",", ":"))
if len(sys.argv) > 5:
    logits.astype(np.float32).tofile(sys.argv[5])
