// Weights in their stored type and layout, edits rounded to that type, and rows of embeddings.
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/number.cuh"

// An fp32 weight under a 16-bit precision keeps a copy in that type, where there is room. Others that do not
// match are converted for each product: 16 bits to fp32, where the product itself takes far longer.
static bool wants_narrow(const er_device *d, const er_weight *w) {
    return w->dtype == ER_F32 && er_cuda_input_type(d) != ER_F32 && !w->lookup && w->bytes;
}

size_t er_cuda_weight_copy_bits(const er_device *d, er_dtype stored, bool backward) {
    return !backward && stored == ER_F32 && er_cuda_input_type(d) != ER_F32 ? 16 : 0;
}

static er_status make_narrow(er_device *d, er_weight *w) {
    er_status rc = ER_OK;
    if (!wants_narrow(d, w) || !w->stored) return ER_OK;
    if (!w->narrow) {
        rc = er_cuda_alloc(d, &w->narrow, w->bytes / 2);
        if (rc == ER_ENOMEM) return ER_OK;  // it is converted each time then
        if (rc == ER_OK) ((er_cuda *)d)->weight_bytes += w->bytes / 2;
    }
    if (rc == ER_OK)
        rc = er_cuda_convert(d, ((er_cuda *)d)->stream, w->narrow, er_cuda_input_type(d), w->stored, ER_F32,
            1, w->d_out * w->d_in);
    return rc;
}

static er_status place_on_host(er_cuda *c, er_weight *w, const void *bytes) {
    er_status rc = ER_OK;
    ER_CUDA(cudaMallocHost(&w->host, w->bytes ? w->bytes : 1));
    if (w->bytes) memcpy(w->host, bytes, w->bytes);
    w->link = c->on_host;
    c->on_host = w;
    if (!w->lookup) ER_TRY(er_cuda_offload_reserve(c, w->bytes));
out:
    return rc;
}

// On the device while there is room within weight_limit, in pinned host memory after that
// (weight_offload.cu). Edited weights are always on the device.
static er_status place(er_device *d, er_weight *w, const void *bytes) {
    er_status rc = ER_OK;
    er_cuda *c = (er_cuda *)d;
    size_t all = w->bytes + (wants_narrow(d, w) ? w->bytes / 2 : 0);
    if (!w->editable && c->weight_bytes + all > c->weight_limit) return place_on_host(c, w, bytes);
    rc = er_cuda_alloc(d, &w->stored, w->bytes);
    if (rc == ER_ENOMEM && !w->editable) return place_on_host(c, w, bytes);
    if (rc != ER_OK) return rc;
    c->weight_bytes += w->bytes;
    ER_TRY(er_cuda_upload(d, w->stored, bytes, w->bytes));
    ER_TRY(make_narrow(d, w));
out:
    return rc;
}

// Room for the converted form of a weight whose type is not the GEMM's, taken now so that a plan of memory
// sees it.
static er_status reserve_converted(er_device *d, const er_weight *w) {
    void *unused = NULL;
    er_dtype t = er_cuda_input_type(d);
    if (w->lookup || w->dtype == t || w->narrow) return ER_OK;
    return er_cuda_scratch(d, ER_SCRATCH_WEIGHT, w->d_out * w->d_in * er_dtype_bits(t) / 8, &unused);
}

er_status er_cuda_weight_create(er_device *d, er_weight **out, const er_weight_spec *spec) {
    er_status rc = ER_OK;
    er_weight *w = NULL;
    if (spec->dtype != ER_F32 && spec->dtype != ER_F16 && spec->dtype != ER_BF16)
        ER_FAIL(ER_EUNSUPPORTED, "a weight of type %s", er_dtype_name(spec->dtype));
    if (spec->d_out > INT_MAX || spec->d_in > INT_MAX)
        ER_FAIL(
            ER_EUNSUPPORTED, "a weight of %zu x %zu; %d at most a side", spec->d_out, spec->d_in, INT_MAX);
    if (!(w = (er_weight *)calloc(1, sizeof *w))) ER_FAIL(ER_ENOMEM, "a weight");
    w->d_out = spec->d_out, w->d_in = spec->d_in, w->dtype = spec->dtype, w->conv1d = spec->conv1d,
    w->editable = spec->editable, w->lookup = spec->lookup;
    w->bytes = w->d_out * w->d_in * er_dtype_bits(w->dtype) / 8;
    ER_TRY(place(d, w, spec->bytes));
    ER_TRY(reserve_converted(d, w));
    *out = w;
    w = NULL;
out:
    er_cuda_weight_free(d, w);
    return rc;
}

void er_cuda_weight_free(er_device *d, er_weight *w) {
    er_cuda *c = (er_cuda *)d;
    if (!w) return;
    er_cuda_offload_forget(c, w);
    for (er_weight **at = &c->on_host; *at; at = &(*at)->link)
        if (*at == w) {
            *at = w->link;
            break;
        }
    if (w->stored) c->weight_bytes -= w->bytes;
    if (w->narrow) c->weight_bytes -= w->bytes / 2;
    er_cuda_release(d, w->stored);
    er_cuda_release(d, w->narrow);
    if (w->host) (void)cudaFreeHost(w->host);
    free(w);
}

er_status er_cuda_weight_read(er_device *d, er_weight *w, void *bytes) {
    if (w->stored) return er_cuda_download(d, bytes, w->stored, w->bytes);
    if (w->bytes) memcpy(bytes, w->host, w->bytes);
    return ER_OK;
}

er_status er_cuda_weight_set(er_device *d, er_weight *w, const void *bytes) {
    er_status rc = ER_OK;
    if (w->stored) {
        ER_TRY(er_cuda_upload(d, w->stored, bytes, w->bytes));
        return make_narrow(d, w);
    }
    ER_TRY(er_cuda_sync(d));  // no copy out of it may be under way
    er_cuda_offload_forget((er_cuda *)d, w);
    if (w->bytes) memcpy(w->host, bytes, w->bytes);
out:
    return rc;
}

// ---- edits ----

// fp64 to fp32 by rounding to odd: a second rounding to a type of at least two bits less is then as if it
// were the only one.
static __device__ float round_to_odd(double x) {
    float f = (float)x;
    if (isnan(x) || isinf(f) || (double)f == x) return f;
    unsigned bits = __float_as_uint(f);
    if (fabs((double)f) > fabs(x)) bits--;
    return __uint_as_float(bits | 1u);
}

template <typename T> static __device__ T round_once(double x);
template <> __device__ float round_once<float>(double x) { return (float)x; }
template <> __device__ __nv_bfloat16 round_once<__nv_bfloat16>(double x) {
    return __float2bfloat16_rn(round_to_odd(x));
}
template <> __device__ __half round_once<__half>(double x) { return __float2half_rn(round_to_odd(x)); }

typedef struct change_part {  // of one block
    double weight, change, lost;
    unsigned long long bad;  // the first element whose result is not finite
} change_part;

static __device__ unsigned long long block_min(unsigned long long v) {
    __shared__ unsigned long long part[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int o = 16; o > 0; o >>= 1) {
        unsigned long long other = __shfl_xor_sync(ER_ALL_LANES, v, o);
        v = other < v ? other : v;
    }
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = lane < warps ? part[lane] : ULLONG_MAX;
    for (int o = 16; o > 0; o >>= 1) {
        unsigned long long other = __shfl_xor_sync(ER_ALL_LANES, v, o);
        v = other < v ? other : v;
    }
    __syncthreads();
    return v;
}

template <typename T>
static __global__ void k_measure(
    change_part *out, const T *stored, const double *dw, bool conv1d, size_t d_out, size_t d_in) {
    double weight = 0, change = 0, lost = 0, unused = 0;
    unsigned long long bad = ULLONG_MAX;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < d_out * d_in;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t at = conv1d ? i % d_in * d_out + i / d_in : i;
        double old = (double)er_widen(stored[at]), step = dw[i], sum = old + step,
               kept = (double)er_widen(round_once<T>(sum));
        if (!isfinite(kept) && i < bad) bad = i;
        weight += old * old, change += step * step, lost += (kept - sum) * (kept - sum);
    }
    er_block_sum2(&weight, &change);
    er_block_sum2(&lost, &unused);
    bad = block_min(bad);
    if (threadIdx.x == 0) {
        out[blockIdx.x].weight = weight, out[blockIdx.x].change = change;
        out[blockIdx.x].lost = lost, out[blockIdx.x].bad = bad;
    }
}

template <typename T>
static __global__ void k_add_change(T *stored, const double *dw, bool conv1d, size_t d_out, size_t d_in) {
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < d_out * d_in;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t at = conv1d ? i % d_in * d_out + i / d_in : i;
        stored[at] = round_once<T>((double)er_widen(stored[at]) + dw[i]);
    }
}

#define MEASURE_BLOCKS 1024u
template <typename T>
static er_status add_change(
    er_device *d, cudaStream_t at, er_weight *w, const double *dw, er_weight_change *change) {
    er_status rc = ER_OK;
    change_part *part = NULL, *host = NULL;
    void *scratch = NULL;
    double weight = 0, step = 0, lost = 0, culprit = 0;
    unsigned long long bad = ULLONG_MAX;
    unsigned blocks = er_blocks(w->d_out * w->d_in, ER_BLOCK);
    blocks = blocks < MEASURE_BLOCKS ? blocks : MEASURE_BLOCKS;
    if (!(host = (change_part *)malloc(blocks * sizeof *host)))
        ER_FAIL(ER_ENOMEM, "sums of %u blocks", blocks);
    ER_TRY(er_cuda_scratch(d, ER_SCRATCH_SUMS, blocks * sizeof *part, &scratch));
    part = (change_part *)scratch;
    ER_TRY(ER_LAUNCHED(ER_LAUNCH(
        k_measure<T>, blocks, ER_BLOCK, at, part, (const T *)w->stored, dw, w->conv1d, w->d_out, w->d_in)));
    ER_CUDA(cudaMemcpyAsync(host, part, blocks * sizeof *part, cudaMemcpyDeviceToHost, at));
    ER_CUDA(cudaStreamSynchronize(at));
    for (unsigned i = 0; i < blocks; i++) {
        weight += host[i].weight, step += host[i].change, lost += host[i].lost;
        bad = host[i].bad < bad ? host[i].bad : bad;
    }
    if (bad != ULLONG_MAX) {
        ER_CUDA(cudaMemcpyAsync(&culprit, dw + bad, sizeof culprit, cudaMemcpyDeviceToHost, at));
        ER_CUDA(cudaStreamSynchronize(at));
        ER_FAIL(ER_ENUMERIC, "edited weight of %zu x %zu is not finite in %s at [%zu, %zu]: change %g",
            w->d_out, w->d_in, er_dtype_name(w->dtype), (size_t)bad / w->d_in, (size_t)bad % w->d_in,
            culprit);
    }
    ER_TRY(ER_LAUNCHED(
        ER_LAUNCH(k_add_change<T>, blocks, ER_BLOCK, at, (T *)w->stored, dw, w->conv1d, w->d_out, w->d_in)));
    if (change) change->weight = sqrt(weight), change->change = sqrt(step), change->lost = sqrt(lost);
out:
    free(host);
    return rc;
}

er_status er_cuda_weight_add(er_device *d, er_weight *w, const double *dw, er_weight_change *change) {
    cudaStream_t at = er_cuda_stream(d);
    er_status rc = ER_OK;
    if (!w->editable)
        return er_fail(ER_EARG, "a weight of %zu x %zu was not opened for editing", w->d_out, w->d_in);
    if (change) change->weight = change->change = change->lost = 0;
    if (!w->bytes) return ER_OK;
    if (w->dtype == ER_BF16) rc = add_change<__nv_bfloat16>(d, at, w, dw, change);
    else if (w->dtype == ER_F16) rc = add_change<__half>(d, at, w, dw, change);
    else rc = add_change<float>(d, at, w, dw, change);
    return rc == ER_OK ? make_narrow(d, w) : rc;
}

// ---- embeddings ----

typedef struct table {
    const void *at;  // on the device, or pinned on the host: a GPU reads both
    er_dtype dtype;
    size_t rows, width, row_step, column_step;
} table;

static __device__ __forceinline__ float entry(const table &t, size_t row, size_t column) {
    size_t i = row * t.row_step + column * t.column_step;
    if (t.dtype == ER_BF16) return er_widen(((const __nv_bfloat16 *)t.at)[i]);
    if (t.dtype == ER_F16) return er_widen(((const __half *)t.at)[i]);
    return ((const float *)t.at)[i];
}

static __global__ void k_embed(float *x, table tokens_of, float scale, table positions_of,
    const int32_t *token, const int32_t *pos, int32_t pos_offset, size_t tokens) {
    ER_EACH_ROW(t, tokens) {
        int64_t p = positions_of.at ? (int64_t)pos[t] + pos_offset : 0;
        bool known = token[t] >= 0 && (size_t)token[t] < tokens_of.rows;
        known = known && p >= 0 && (!positions_of.at || (size_t)p < positions_of.rows);
        ER_EACH_COLUMN(i, tokens_of.width, 1) {
            float v = known ? scale * entry(tokens_of, (size_t)token[t], i) : NAN;
            if (known && positions_of.at) v += entry(positions_of, (size_t)p, i);
            x[t * tokens_of.width + i] = v;
        }
    }
}

static table table_of(const er_weight *w) {
    table t = {};
    if (!w) return t;
    t.at = w->stored ? w->stored : w->host;
    t.dtype = w->dtype, t.rows = w->d_out, t.width = w->d_in;
    t.row_step = w->conv1d ? 1 : w->d_in, t.column_step = w->conv1d ? w->d_out : 1;
    return t;
}

er_status er_cuda_embed(er_device *d, const er_embed_args *a, float *x) {
    if (!a->tokens || !a->table->d_in) return ER_OK;
    return ER_LAUNCHED(ER_LAUNCH_ROWS(k_embed, a->tokens, a->table->d_in, 1, er_cuda_stream(d), x,
        table_of(a->table), a->scale, table_of(a->position), a->token, a->pos, a->pos_offset, a->tokens));
}
