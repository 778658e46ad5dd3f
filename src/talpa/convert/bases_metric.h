#pragma once

#include "talpa/convert/bases_objective.h"
#include "talpa/convert/layer_experts.h"

namespace talpa::convert {

/// What errors of a projection cost in the layer, from what its experts saw, fp32. Gate and up,
/// [m, n]: the experts' input moments over columns; down, transposed: their hidden moments over
/// rows. Weights of experts that saw more count for more. Besides the prior of Metric a tenth of
/// the mean size is added to every direction: text that was not seen differs from the sample.
BasesMetric bases_metric(Side side, const LayerStatistics& statistics);

}  // namespace talpa::convert
