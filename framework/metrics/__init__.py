"""What metric plugins share; `sets` holds metrics that compare two sets of images."""
