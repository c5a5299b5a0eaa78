"""What the documents report, and the runs of `train/scripts/documents.py` that answer it."""

from __future__ import annotations

# validation losses by epochs (down) and rates (across)
TABLE_1 = {
    1: ((1.96e-4, 1.95e-4, 0.1877), (1.83e-4, 1.97e-4, 0.1553), (1.98e-4, 1.96e-4, 0.14998)),
    2: ((1.594e-4, 1.28e-4, 1.38e-4), (1.35e-4, 1.28e-4, 1.218e-4), (1.313e-4, 1.28e-4, 1.08e-4)),
    3: ((1.14e-4, 1.09e-4, 1.42e-4), (1.29e-4, 1.09e-4, 1.36e-4), (1.108e-4, 1.38e-4, 1.35e-4)),
}
# PSNR of the planes a and b in the validation
TABLE_3 = {
    "relu": (
        (34.5892, 34.4374, 34.46079), (34.12332, 34.6032, 34.37195), (34.57603, 34.59363, 34.30788),
    ),
    "sigmoid": (
        (34.424, 34.66826, 33.6417), (34.5579, 34.67858, 34.6108), (34.62515, 34.435, 34.4634),
    ),
    "tanh": (
        (35.4374, 35.5301, 32.1824), (35.6492, 35.3373, 34.9099), (35.75838, 35.1595, 34.8064),
    ),
}  # fmt: skip
# run: epochs, losses of training and validation, 12-margin error; by the document's question
S2: dict[str, dict[str, tuple[str, tuple[float | None, ...]]]] = {
    "layers (4 kernels, rate 0.1)": {
        "1": ("grid/layers=1,kernels=4,lr=0.1", (32, 0.0091595, 0.0093097, 0.24844578)),
        "2": ("grid/layers=2,kernels=4,lr=0.1", (47, 0.0084773, 0.0086337, 0.23414488)),
        "4": ("grid/layers=4,kernels=4,lr=0.1", (10, 0.0123452, 0.0100682, 0.26177073)),
        "4, decay 0.0001": (
            "variants/four-layers-decay-0.0001", (25, 0.0090268, 0.0088785, 0.24017422),
        ),
        **{
            f"4, decay {decay}": (f"variants/four-layers-decay-{decay}", ())
            for decay in (0.001, 0.01, 0.1)
        },
    },
    "kernels (2 layers, rate 0.1)": {
        "2": ("grid/layers=2,kernels=2,lr=0.1", (34, 0.0085877, 0.0086313, 0.2346004)),
        "4": ("grid/layers=2,kernels=4,lr=0.1", (47, 0.0084773, 0.0086337, 0.23414488)),
        "8": ("variants/eight-kernels", (46, 0.0083994, 0.0085122, 0.2320971)),
        "16": ("variants/sixteen-kernels", (35, 0.0083253, 0.0084073, 0.2290477)),
    },
    "rate (2 layers, 8 kernels)": {
        "10": ("grid/layers=2,kernels=8,lr=10.0", (1, None, None, None)),
        "0.0001": ("grid/layers=2,kernels=8,lr=0.0001", (100, 0.018225, 0.0182970, 0.4082442)),
        "0.1": ("variants/eight-kernels", (46, 0.0083994, 0.0085122, 0.2320971)),
    },
    "further (2 layers, 8 kernels, rate 0.1)": {
        "none": ("variants/eight-kernels", (46, 0.0083994, 0.0085122, 0.2320971)),
        "batch norm": ("variants/batch-norm", (33, 0.0109057, 0.0125874, 0.34502774)),
        **{
            f"batch norm, rate {rate}": (f"variants/batch-norm-lr-{rate}", ())
            for rate in (0.2, 0.3, 0.4, 0.5)
        },
        "batch norm, decay 0.01": (
            "variants/batch-norm-decay-0.01", (8, 0.0105503, 0.0124125, 0.34150118),
        ),
        **{
            f"batch norm, decay {decay}": (f"variants/batch-norm-decay-{decay}", ())
            for decay in (0.1, 0.001, 0.0001)
        },
        "tanh": ("variants/tanh", (38, 0.0089915, 0.0090407, 0.25000706)),
    },
}  # fmt: skip
S1 = {
    "plateau, 1e-3 to 2e-4 to 1e-4": "plateau",
    "cut to a tenth, 1e-2 to 1e-3 to 1e-4": "cut-to-a-tenth",
    "compared at the picture's size": "at-picture",
    "313 bins of the gamut": "gamut-bins",
    "batch norm after each convolution": "norm-each",
}
