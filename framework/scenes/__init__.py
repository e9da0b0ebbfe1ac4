"""Generated scenes: textured solids on a textured ground, ray cast with numpy.

Reading order: `geometry` (where a ray meets a solid), `textures` (its color there),
`scene` (what stands where, drawn at random), `render` (pictures and masks). Axes: N rays
or points, K bodies; vectors are rows x, y, z of an array `_3N`, z up, ground at z = 0.
"""
