/* musiva/sampler.h: how predictions become tokens. The host calls the model between two steps; a sampler never does. */
#ifndef MUSIVA_SAMPLER_H
#define MUSIVA_SAMPLER_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every sampler has this interface. */
#define MUSIVA_SAMPLER "musiva.sampler/1"

typedef struct {
  size_t struct_size;
  /* [serial] What it drives. Text 0: JSON, { "drives": "codes" } or { "drives": "field" }, optionally with "guidance":
   * g, by which the host extrapolates from the prediction without the prompt to the one with it (1: not at all). */
  musiva_status (*describe)(const musiva_instance *self, const musiva_call *call);
  /* [serial] Of a field: output 0, f32 [S + 1], falling from 1 to 0: the times that x goes through. Called before the
   * first step. Of codes: MUSIVA_UNSUPPORTED. */
  musiva_status (*begin)(musiva_instance *self, const musiva_call *call);
  /* [serial] Of a field, step `index`: takes x at time[index] and the model's guess of the clean vectors there, both
   * f32 [B, L, C]. Output 0: x at time[index + 1]. Each sample of the batch on its own. The first step
   * is 0, or a later one where what is there is changed: x was mixed with noise for it. Of codes: MUSIVA_UNSUPPORTED. */
  musiva_status (*step)(musiva_instance *self, const musiva_call *call, int64_t index, const musiva_tensor *x,
                        const musiva_tensor *clean);
  /* [serial] Of codes: picks by logits f32 [B, K] and a uniform number in [0, 1) for each row, f32 [B]. Output 0:
   * i64 [B], each in 0 .. K-1. Each row on its own. Of a field: MUSIVA_UNSUPPORTED. */
  musiva_status (*pick)(musiva_instance *self, const musiva_call *call, const musiva_tensor *logits,
                        const musiva_tensor *uniform);
} musiva_sampler_1;

#ifdef __cplusplus
}
#endif

#endif
