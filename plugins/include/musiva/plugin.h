/* musiva/plugin.h: the plugin ABI, version 1.0. C99 and C++17. This file is normative.
 *
 * A plugin is a shared library that exports one data symbol, `musiva_plugin_entry`. It lists what the library holds,
 * makes instances of it, and hands out tables of functions by the versioned id of an interface. Each kind of plugin
 * has a header of its own beside this one.
 *
 * Growth
 *   MAJOR changes when a field moves or changes its meaning; a host refuses other majors. MINOR changes when a field is
 *   appended to a struct or an interface is added. Every struct that may grow begins with `struct_size`, which its
 *   writer sets to `sizeof` of the struct as the writer knows it. A reader may touch a field only where it lies inside
 *   the writer's `struct_size`; so any minor works with any minor. Enumerations are int32_t with #defines: the size of
 *   a C enum is not fixed.
 *
 * Ownership
 *   Nothing that one side allocated is freed by the other. Every pointer that is passed to a function dies when the
 *   function returns, with two exceptions: `musiva_host` outlives every instance, and everything that is reached from
 *   `musiva_plugin_entry`, tables included, lives as long as the process. A library is never unloaded.
 *
 * Strings
 *   UTF-8 with a length, never terminated by a zero. `ptr` may be NULL where `len` is 0.
 *
 * Threads
 *   [any]     may be called from any thread, by several at once.
 *   [serial]  at most one such call at a time for one instance, from any thread. Instances are independent: calls of
 *             two of them may overlap.
 *   A plugin may start threads. They must not touch a `musiva_call` after the function that got it has returned.
 *
 * What a plugin leaves alone
 *   The floating-point environment, the locale, signal handlers, the working directory and the standard streams. The
 *   host compares the first two before and after each call; a change is undone and is an error.
 *
 * Determinism
 *   The same instance state, inputs and `seed` give the same bytes, whatever the number of threads.
 *
 * Errors
 *   A function that returns anything but MUSIVA_OK has failed, and should have said why by `call->fail`. A call that
 *   said so has failed too, whatever it returned. No exception, longjmp or unwinding may leave a function.
 */
#ifndef MUSIVA_PLUGIN_H
#define MUSIVA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MUSIVA_ABI_MAJOR 1u
#define MUSIVA_ABI_MINOR 0u

/* A text: UTF-8, not terminated. */
typedef struct {
  const char *ptr;
  size_t len;
} musiva_str;

/* How a function ended. */
typedef int32_t musiva_status;
#define MUSIVA_OK 0
#define MUSIVA_INVALID_CONFIG (-1) /* the configuration is wrong: the message is shown to the user */
#define MUSIVA_INVALID_INPUT (-2)  /* rank, dtype, shape or values of an input */
#define MUSIVA_UNSUPPORTED (-3)    /* this plugin does not do that */
#define MUSIVA_OUT_OF_MEMORY (-4)
#define MUSIVA_CANCELLED (-5)      /* `cancelled` said so */
#define MUSIVA_INTERNAL (-6)       /* a bug of the plugin */
#define MUSIVA_PANICKED (-7)       /* the instance is broken: the host destroys it and calls nothing else */

/* How grave a line of the log is. */
#define MUSIVA_LOG_ERROR 1
#define MUSIVA_LOG_WARN 2
#define MUSIVA_LOG_INFO 3
#define MUSIVA_LOG_DEBUG 4
#define MUSIVA_LOG_TRACE 5

/* Tensors. The three structs are laid out as DLDevice, DLDataType and DLTensor of DLPack 1.x; a cast between them is
 * allowed. In version 1.0 every tensor lies in the memory of the CPU, is contiguous in C order, and is aligned to its
 * element alone. `strides` may be NULL; `byte_offset` counts. Inputs are read-only. */
#define MUSIVA_DEVICE_CPU 1

#define MUSIVA_DTYPE_INT 0u
#define MUSIVA_DTYPE_UINT 1u
#define MUSIVA_DTYPE_FLOAT 2u
#define MUSIVA_DTYPE_BFLOAT 4u
#define MUSIVA_DTYPE_BOOL 6u

typedef struct {
  int32_t device_type; /* MUSIVA_DEVICE_CPU */
  int32_t device_id;   /* 0 */
} musiva_device;

typedef struct {
  uint8_t code;   /* MUSIVA_DTYPE_... */
  uint8_t bits;   /* of one element */
  uint16_t lanes; /* 1 */
} musiva_dtype;

typedef struct {
  void *data;
  musiva_device device;
  int32_t ndim;
  musiva_dtype dtype;
  const int64_t *shape;
  const int64_t *strides; /* in elements; NULL: contiguous in C order */
  uint64_t byte_offset;
} musiva_tensor;

/* What the host lends for the length of one call. Its functions may be called from any thread of the plugin. */
typedef struct musiva_call musiva_call;
struct musiva_call {
  size_t struct_size;
  void *host_data; /* the host's own */
  uint64_t seed;   /* the only allowed source of randomness */
  /* Allocates output `index`: zeros, contiguous, once per index. The host refuses an output that does not fit what the
   * function promises; the plugin then passes the status on. `*out` lives until the function returns. */
  musiva_status (*output)(const musiva_call *call, uint32_t index, musiva_dtype dtype, int32_t ndim,
                          const int64_t *shape, musiva_tensor **out);
  /* Gives text output `index`, plain or JSON; it is copied. */
  musiva_status (*text)(const musiva_call *call, uint32_t index, musiva_str text);
  /* Says why the call fails; it is copied, and the last one counts. One sentence for whoever wrote the recipe. */
  void (*fail)(const musiva_call *call, musiva_str message);
  /* Not 0: stop as soon as possible and return MUSIVA_CANCELLED. To be asked in long loops. */
  int32_t (*cancelled)(const musiva_call *call);
};

/* The host; it outlives every instance. */
typedef struct musiva_host musiva_host;
struct musiva_host {
  size_t struct_size;
  void *host_data;
  musiva_str name;
  musiva_str version;
  uint32_t threads; /* how many threads a call had best use */
  /* [any] Writes a line of the log. */
  void (*log)(const musiva_host *host, int32_t level, musiva_str message);
  /* [any] Something that a later host offers; NULL: this one does not. */
  const void *(*get_extension)(const musiva_host *host, musiva_str id);
};

/* An instance: whatever the plugin makes of it. */
typedef struct musiva_instance musiva_instance;

/* Something that the library holds. Constant, and readable without running any of the plugin's code. */
typedef struct {
  size_t struct_size;
  musiva_str id;      /* "org.example.dct": reverse domain of [a-z0-9-] with at least one dot; a recipe's `kind` */
  musiva_str kind;    /* "tokenizer", "backbone", "conditioner", "sampler", "metric" or "dataset" */
  musiva_str version; /* "1.2.3" */
  musiva_str summary; /* one line */
  musiva_str license; /* SPDX expression */
  uint64_t flags;     /* 0; a later minor may give bits a meaning */
} musiva_descriptor;

/* The library. */
typedef struct {
  size_t struct_size;
  uint32_t abi_major; /* MUSIVA_ABI_MAJOR */
  uint32_t abi_minor; /* MUSIVA_ABI_MINOR */
  uint32_t descriptor_count;
  uint32_t reserved; /* 0 */
  /* An array of pointers, so that a longer descriptor of a later minor does not move the next one. */
  const musiva_descriptor *const *descriptors;
  /* [any] Text 0: the JSON Schema of the configuration of `id`, an object; {"type": "object"} where there is none. The
   * host checks a configuration against it before it calls `create`. A key whose schema has "format": "path" is a file:
   * the host makes it relative to the recipe that says it. May be NULL: no plugin of the library takes keys. */
  musiva_status (*config_schema)(const musiva_call *call, musiva_str id);
  /* [any] Makes an instance. `config_json` is an object with all its defaults. Cheap: large files are read when the
   * instance is first run, so that a recipe can be checked without them. */
  musiva_status (*create)(const musiva_host *host, const musiva_call *call, musiva_str id, musiva_str config_json,
                          musiva_instance **out);
  /* [serial] Frees an instance; it is used no more. */
  void (*destroy)(musiva_instance *instance);
  /* [any] The table of functions of an interface, e.g. "musiva.tokenizer/1"; NULL: the instance does not have it. Every
   * instance has the interface of its kind. */
  const void *(*get_interface)(const musiva_instance *instance, musiva_str interface_id);
} musiva_entry;

#if defined(_WIN32)
#define MUSIVA_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define MUSIVA_EXPORT __attribute__((visibility("default")))
#else
#define MUSIVA_EXPORT
#endif

/* The one exported symbol. */
extern MUSIVA_EXPORT const musiva_entry musiva_plugin_entry;

#ifdef __cplusplus
}
#endif

#endif
