"""Layerwise Adapter: which layers of a Transformer matter, and which score of importance to trust."""

import os
import warnings

# Executed notebooks are pages of a book: the libraries' own progress bars and notices have no place there.
for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Without it a GPU may multiply the same matrices in another order each time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
warnings.filterwarnings("ignore", message="IProgress not found")
