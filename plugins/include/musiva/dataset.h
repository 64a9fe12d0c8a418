/* musiva/dataset.h: clips and captions by number. The host shuffles, batches and holds out. */
#ifndef MUSIVA_DATASET_H
#define MUSIVA_DATASET_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every dataset has this interface. */
#define MUSIVA_DATASET "musiva.dataset/1"

typedef struct {
  size_t struct_size;
  /* [serial] The shape function. Text 0: JSON, { "length": n or null where it is endless, "clip": [T, H, W],
   * "rate": [frames, seconds] }, 24000 frames in 1001 seconds, say. Reads no clip. */
  musiva_status (*describe)(const musiva_instance *self, const musiva_call *call);
  /* [serial] Sample `index`, which is below the length: the same for the same index. Output 0: u8 [T, H, W, 3]. Text 0:
   * the caption, may be empty. Text 1: where the sample comes from, for messages. */
  musiva_status (*read)(const musiva_instance *self, const musiva_call *call, uint64_t index);
} musiva_dataset_1;

#ifdef __cplusplus
}
#endif

#endif
