/* musiva/tokenizer.h: media to tokens and back. */
#ifndef MUSIVA_TOKENIZER_H
#define MUSIVA_TOKENIZER_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every tokenizer has this interface. */
#define MUSIVA_TOKENIZER "musiva.tokenizer/1"

/* Media
 *   video  u8 [T, H, W, 3], full-range sRGB, red first; an image is a clip of one frame
 *   audio  f32 [N, C], finite, full scale is -1 to 1, all channels of the first moment first; at whatever rate the
 *          recipe's sounds have
 *   text   u8 [N], UTF-8
 * Tokens, in C order of the grid [t, h, w]; of audio the grid is [t, 1, 1], of text [1, 1, L]
 *   codes    i64 [t, h, w], each in 0 .. entries-1; of text code 0 means "no word"
 *   levels   i64 [t, h, w, Q], each in 0 .. entries-1, coarse to fine
 *   latents  f32 [t, h, w, C], finite
 * One medium a call. */
typedef struct {
  size_t struct_size;
  /* [serial] Text 0: JSON,
   *   { "modality": "video", "audio" or "text",
   *     "tokens": { "kind": "codes", "entries": K, "bits": b or null }
   *            or { "kind": "levels", "levels": Q, "entries": K }
   *            or { "kind": "latents", "channels": C },
   *     "strides": [t, h, w], how many input steps one token stands for, 1 for text,
   *     "causal": whether a token depends on no later input }
   * `bits` says that a code *is* the signs of its bits, lowest first, so that a diffusion model can read it. */
  musiva_status (*describe)(const musiva_instance *self, const musiva_call *call);
  /* [serial] The shape function: the grid of the tokens of a clip [T, H, W, 3], of a sound [N, C], or of a text (`ndim`
   * 1, `shape[0]` 0: the grid is the same for every text). Fails with MUSIVA_INVALID_INPUT where such media do not fit. Runs on no data.
   */
  musiva_status (*shape)(const musiva_instance *self, const musiva_call *call, int32_t ndim, const int64_t *shape,
                         int64_t grid[3]);
  /* [serial] Output 0: the tokens of `media`, of the grid that `shape` says. */
  musiva_status (*encode)(musiva_instance *self, const musiva_call *call, const musiva_tensor *media);
  /* [serial] Output 0: the media of `tokens`; `shape` of them is the grid of the tokens. */
  musiva_status (*decode)(musiva_instance *self, const musiva_call *call, const musiva_tensor *tokens);
} musiva_tokenizer_1;

/* A tokenizer that works on the fly. Fed piece by piece, it makes the same tokens and the same media, byte by byte, as
 * `encode` and `decode` make of the whole. The two directions keep separate states. */
#define MUSIVA_TOKENIZER_STREAMING "musiva.tokenizer.streaming/1"

typedef struct {
  size_t struct_size;
  /* [serial] Forgets what came before, in both directions. */
  musiva_status (*reset)(musiva_instance *self, const musiva_call *call);
  /* [serial] Takes the next frames [n, H, W, 3] or samples [n, C], `last` telling whether they are the last. Output 0:
   * the tokens that are ready, [m, h, w, ...]; no output: nothing yet. */
  musiva_status (*encode_step)(musiva_instance *self, const musiva_call *call, const musiva_tensor *media,
                               int32_t last);
  /* [serial] Takes the next tokens [n, h, w, ...]. Output 0: the frames or samples that are ready; no output:
   * nothing yet. */
  musiva_status (*decode_step)(musiva_instance *self, const musiva_call *call, const musiva_tensor *tokens,
                               int32_t last);
} musiva_tokenizer_streaming_1;

#ifdef __cplusplus
}
#endif

#endif
