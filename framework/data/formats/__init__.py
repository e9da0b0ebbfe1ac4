"""Reading files of datasets: pictures, masks, archives, HDF5, COCO, CLEVRTex."""
