"""Attention weights to look at: figures for paper, pages to hover for the screen.

NumPy arrays and strings go in; a matplotlib figure or one self-contained HTML page comes out.
matplotlib is imported when a figure is drawn, and its global state (pyplot) is never touched.
"""

from keras_attention.visualization.alignment import Alignment
from keras_attention.visualization.figure import heatmap
from keras_attention.visualization.files import save
from keras_attention.visualization.heads import MultiHeadAlignment, head_heatmaps
from keras_attention.visualization.overlay import Overlay, image_overlay
from keras_attention.visualization.overlay_page import overlay_page
from keras_attention.visualization.page import alignment_page

__all__ = [
    "Alignment",
    "MultiHeadAlignment",
    "Overlay",
    "alignment_page",
    "head_heatmaps",
    "heatmap",
    "image_overlay",
    "overlay_page",
    "save",
]
