"""What metrics are made of: one function of an `Outcome` (`slotlab.contracts`) is enough.

    from slotlab.metrics import best_iou, mask_metric

`mask_metric` makes a component of a function of true and predicted masks, `error_metric` one of a function of
images and reconstructions. `best_iou` gives the best IoU of each true segment from `outcome.counts_BTP`,
`objects_of` the number of objects in each image.
"""

from slotlab.framework.arithmetic.overlap import best_iou
from slotlab.framework.metrics.builders import error_metric, mask_metric, objects_of

__all__ = ["best_iou", "error_metric", "mask_metric", "objects_of"]
