"""Attention weights to look at: a heat map for paper, a page to hover for the screen.

NumPy arrays and strings go in; a matplotlib figure or one self-contained HTML page comes out.
matplotlib is imported when a figure is drawn, and its global state (pyplot) is never touched.
"""

from keras_attention.visualization.alignment import Alignment
from keras_attention.visualization.figure import heatmap
from keras_attention.visualization.files import save
from keras_attention.visualization.page import alignment_page

__all__ = ["Alignment", "alignment_page", "heatmap", "save"]
