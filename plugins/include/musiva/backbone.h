/* musiva/backbone.h: the model that predicts tokens. */
#ifndef MUSIVA_BACKBONE_H
#define MUSIVA_BACKBONE_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every backbone has this interface. A backbone is a pure function of parameters that the host owns: the host makes
 * them, trains them by its optimizer, averages and saves them; the plugin holds no training state. */
#define MUSIVA_BACKBONE "musiva.backbone/1"

/* The sequence that backbones see: a prompt of P tokens, then L tokens in C order of the grid. */
typedef struct {
  size_t struct_size;
  int64_t prompt;   /* P */
  int64_t words;    /* how many text tokens there are to choose from; 0 stands where the prompt has no word */
  int64_t grid[3];  /* [t, h, w]; L is their product */
  int64_t entries;  /* K where the tokens are codes, else 0 */
  int64_t channels; /* C of the vectors, latents or the bits of codes; 0 where there are none */
} musiva_canvas;

/* The input of a forward pass. `theta` is all parameters, flat, one after the other as `parameters` lists them. */
typedef struct {
  size_t struct_size;
  const musiva_canvas *canvas;
  const musiva_tensor *theta;  /* f32 [N] */
  const musiva_tensor *prompt; /* i64 [B, P] */
  const musiva_tensor *x;      /* codes: i64 [B, L]; field: f32 [B, L, C], noisy vectors */
  const musiva_tensor *times;  /* field: f32 [B, S], the times that occur, 0 is clean, 1 is noise; codes: NULL */
  const musiva_tensor *at;     /* field: i64 [L], which of the S times each position stands at; codes: NULL */
  const musiva_tensor *guess;  /* field: f32 [B, L, C], the last guess of the clean vectors; NULL: there is none */
} musiva_backbone_input;

typedef struct {
  size_t struct_size;
  /* [serial] What the backbone is on this canvas. Text 0: JSON,
   *   { "predicts": "codes" } or { "predicts": "field", "self_conditioned": bool },
   *   optionally with "forward_flops", "activations" and "working_set" of one sample: numbers for the estimate of work
   *   and memory.
   * This is the shape function too: predictions of codes are f32 [B, L, K], of a field f32 [B, L, C]. Fails with
   * MUSIVA_INVALID_INPUT where the canvas does not fit. Runs on no data. */
  musiva_status (*describe)(const musiva_instance *self, const musiva_call *call, const musiva_canvas *canvas);
  /* [serial] Text 0: JSON, an array of
   *   { "name": "mix.weight", "shape": [3, 5], "init": { "normal": 0.02 } or "zeros" or "ones" }
   * in the order of theta. Names are unique, parts separated by dots. */
  musiva_status (*parameters)(const musiva_instance *self, const musiva_call *call, const musiva_canvas *canvas);
  /* [serial] Output 0: the predictions. A backbone that predicts codes predicts the one at each position from the
   * prompt and the codes before it, never from that position itself or a later one. */
  musiva_status (*forward)(const musiva_instance *self, const musiva_call *call, const musiva_backbone_input *input);
} musiva_backbone_1;

/* A backbone that can be trained. */
#define MUSIVA_BACKBONE_VJP "musiva.backbone.vjp/1"

typedef struct {
  size_t struct_size;
  /* [serial] The vector-Jacobian product of `forward` at `input` with `dy`, shaped as its output. Output 0: by theta,
   * f32 [N]. Output 1, of a field alone: by x, f32 [B, L, C]. Nothing flows to the guess. Linear in `dy`. */
  musiva_status (*vjp)(const musiva_instance *self, const musiva_call *call, const musiva_backbone_input *input,
                       const musiva_tensor *dy);
} musiva_backbone_vjp_1;

/* A backbone of codes that decodes step by step; its state lives in the instance. */
#define MUSIVA_BACKBONE_CACHE "musiva.backbone.cache/1"

typedef struct {
  size_t struct_size;
  /* [serial] Starts over with the parameters and prompts of `input`, whose other tensors are NULL. Output 0: logits of
   * the first token, f32 [B, K]. */
  musiva_status (*begin)(musiva_instance *self, const musiva_call *call, const musiva_backbone_input *input);
  /* [serial] Goes on by the picked tokens, i64 [B]. Output 0: logits of the next one, f32 [B, K]. Never called more
   * than L - 1 times after a `begin`. */
  musiva_status (*step)(musiva_instance *self, const musiva_call *call, const musiva_backbone_input *input,
                        const musiva_tensor *tokens);
} musiva_backbone_cache_1;

#ifdef __cplusplus
}
#endif

#endif
