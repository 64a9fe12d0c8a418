/* musiva/conditioner.h: texts to embeddings. */
#ifndef MUSIVA_CONDITIONER_H
#define MUSIVA_CONDITIONER_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every conditioner has this interface. */
#define MUSIVA_CONDITIONER "musiva.conditioner/1"

typedef struct {
  size_t struct_size;
  /* [serial] The shape function. Text 0: JSON, { "length": L, "channels": D }. */
  musiva_status (*describe)(const musiva_instance *self, const musiva_call *call);
  /* [serial] Output 0: f32 [B, L, D], finite. Output 1: u8 [B, L], 1 where an embedding stands for something, else 0.
   * A text's embedding does not depend on the texts beside it. A backbone reads zeros where the second is 0. An empty text
   * is no prompt to the host, which reads zeros for it and need not ask. A text may be of any length: cut it, or fail. */
  musiva_status (*encode)(musiva_instance *self, const musiva_call *call, size_t count, const musiva_str *texts);
} musiva_conditioner_1;

#ifdef __cplusplus
}
#endif

#endif
