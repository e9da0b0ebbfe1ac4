# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a spec to a comparison
#
# Two initializers of slots are trained on generated scenes, looked at, and compared over two seeds.
# Everything is tiny, so that it runs on a CPU in less than a minute; leave `tiny` out for results that mean
# something (two minutes for each run of the demo).
#
# Open this file in Jupyter with jupytext (`pip install jupytext`), or run it with Python.

# %%
import slotlab

tiny = {
    "training.phases": [{"steps": 10, "lr": 1e-3}],
    "data.dataset": {"num_train": 32, "num_val": 8},
    "evaluation.baselines": ["position_grid"],
}

# %% [markdown]
# ## One run
#
# A spec that comes with slotlab, with some settings changed. It is checked before any data is read.

# %%
spec = slotlab.load_spec("slotlab:demo", {**tiny, "name": "gaussian", "model.initializer": "gaussian"})
print(spec.to_yaml())

# %%
run = slotlab.train(spec)
run

# %% [markdown]
# What it logged:

# %%
run.log()[["kind", "step", "loss"]]

# %% [markdown]
# ## Looking at it
#
# Images of the validation split: as the model sees them, its segments, its reconstructions. After so few
# steps there is not much to see.

# %%
images = run.images("val", range(4))
found = run.segment(images)
found

# %% [markdown]
# Any other image will do, too; here the same ones with their colors inverted.

# %%
run.segment(255 - images.images_BCHW)

# %% [markdown]
# Slots of two images mixed, and painted:

# %%
run.compose("mix", images=[0, 1])

# %% [markdown]
# ## Measuring it
#
# One row for each image, beside a baseline that cuts every image into the same pieces.

# %%
measured = run.evaluate(figures=False)
measured.rows().describe()

# %%
measured.rows("position_grid").describe()

# %% [markdown]
# ## Comparing
#
# A second seed, and both seeds with learned slots in place of drawn ones.

# %%
for initializer in ("gaussian", "learnable"):
    for seed in (0, 1):
        settings = {**tiny, "name": initializer, "model.initializer": initializer, "seed": seed}
        slotlab.train("slotlab:demo", settings)

# %%
table = slotlab.compare("runs", primary="fg_ari")
table

# %% [markdown]
# The same as data frames, for plots of your own:

# %%
table.runs_frame()

# %%
table.frame().query("metric == 'fg_ari'")[["arm", "seeds", "mean", "std", "low", "high"]]
