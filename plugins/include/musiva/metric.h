/* musiva/metric.h: how good clips are. */
#ifndef MUSIVA_METRIC_H
#define MUSIVA_METRIC_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every metric has this interface. */
#define MUSIVA_METRIC "musiva.metric/1"

typedef struct {
  size_t struct_size;
  /* [serial] Forgets what came before. */
  musiva_status (*reset)(musiva_instance *self, const musiva_call *call);
  /* [serial] Takes one more pair: `made` and `reference` are u8 [T, H, W, 3] of one shape. */
  musiva_status (*update)(musiva_instance *self, const musiva_call *call, const musiva_tensor *made,
                          const musiva_tensor *reference, musiva_str caption);
  /* [serial] Text 0: JSON, an object of names and finite numbers, e.g. { "psnr": 31.5 }. Does not depend on the order
   * of the pairs. At least one pair has been taken. */
  musiva_status (*result)(const musiva_instance *self, const musiva_call *call);
} musiva_metric_1;

#ifdef __cplusplus
}
#endif

#endif
