#!/bin/bash
# Get what draws the charts of the page /ui/, uPlot, with its licence, into build/uplot.
exec "$(dirname "$0")/fetch_npm.sh" uplot uplot 1.6.32 \
  2883159c6ebccefbb95d751b0b82d010f9e1c0ec41b8bc96d401eda66e882935c89a46cb824332fa369b8cb8122cc6ac36e186cd09bf7a9ded3a4c93c6989023 \
  "the page /ui/ has no charts of the whole gateway" dist/uPlot.esm.js dist/uPlot.min.css LICENSE
