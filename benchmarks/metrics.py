"""ARI and FG-ARI of many masks: batched on tensors against scikit-learn image by image.

python benchmarks/metrics.py [--images 1000] [--size 128] [--slots 11]
"""

import argparse
import time

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from slotlab.framework.contingency import adjusted_rand_index, contingency


def batched(true_BHW, predicted_BHW, size=50):
    rows = []
    for true, predicted in zip(true_BHW.split(size), predicted_BHW.split(size), strict=True):
        rows.append(adjusted_rand_index(contingency(true, predicted)))
        rows.append(adjusted_rand_index(contingency(true, predicted, true > 0)))
    return torch.cat(rows)


def one_by_one(true_BHW, predicted_BHW):
    values = []
    for true, predicted in zip(true_BHW.numpy(), predicted_BHW.numpy(), strict=True):
        values.append(adjusted_rand_score(true.ravel(), predicted.ravel()))
        values.append(adjusted_rand_score(true[true > 0], predicted[true > 0]))
    return np.array(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--slots", type=int, default=11)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shape = (options.images, options.size, options.size)
    true_BHW, predicted_BHW = (torch.randint(options.slots, shape, generator=generator) for _ in range(2))
    seconds = []
    for function in (one_by_one, batched):
        started = time.perf_counter()
        function(true_BHW, predicted_BHW)
        seconds.append(time.perf_counter() - started)
    print(f"{options.images} images of {options.size}x{options.size}, {options.slots} segments")
    print(f"scikit-learn, one by one  {seconds[0]:7.2f} s   1.0x")
    print(f"batched                   {seconds[1]:7.2f} s  {seconds[0] / seconds[1]:4.1f}x")


if __name__ == "__main__":
    main()
