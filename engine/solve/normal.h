// The normal equations of one layer's least squares, on the device in fp64. With keys K [d_key, n] and
// residuals R [d_out, n] as columns:
//
//     dW = R K^T A^-1,     A = K K^T + P
//
// P is the prior, symmetric: lambda C, the keys of earlier edits, a multiple of I.
//
// Columns come in a few at a time. In the summed form they go into K K^T and R K^T, whose size does not
// depend on n: what ranks add up. In the column form all n stay, which pays when n is well below d_key (then
// the n x n system is solved, R (I + K^T P^-1 K)^-1 K^T P^-1), and which the hard constraint dW K = R needs
// (ridge 0, no sums can give it).
//
//     er_normal_begin                            no columns
//     er_normal_room, then er_normal_added       for every batch of columns
//     er_normal_close                            nothing more comes: the sums are complete
//     er_normal_begin_prior, er_normal_add_*     what the editor adds; er_normal_restrict
//     er_normal_solve                            rk becomes dW
#ifndef ER_NORMAL_H
#define ER_NORMAL_H
#include "kernels/arena.h"
#include "kernels/comm/comm.h"

typedef struct er_solve_info {
    bool dual;  // the n x n system was solved
    double flops, seconds;
} er_solve_info;

typedef struct er_normal_shape {
    size_t d_key, d_out;
    size_t n;         // columns there will be
    size_t capacity;  // columns held at a time; in the column form n
    bool summed;      // the summed form
    bool definite;    // the prior will be positive definite
    bool restricted;  // er_normal_restrict will be called
    bool hard;        // ridge may be 0
} er_normal_shape;

typedef struct er_normal {  // [dev]; rows are columns of K and R: K^T [n, d_key], R^T [n, d_out]
    er_device *dev;
    er_normal_shape shape;
    double *keys, *resid;  // [capacity, d_key], [capacity, d_out]
    size_t held;           // rows of them that are filled, and not yet in the sums
    double *kk;     // [d_key, d_key], on and below the diagonal: K K^T in the summed form, and the prior
    double *rk;     // [d_out, d_key]: R K^T in the summed form; dW after er_normal_solve
    double spread;  // R K^T is taken this many times
    double ridge;   // multiplies I in the n x n system: 1, or 0 for the hard constraint (column form only)
    double *dual;   // n (d_key + n + d_out), where the n x n system may be solved
    double *basis;  // restricted: [rank, d_key], orthonormal rows
    double *reduced, *scratch;  // restricted: [d_key, d_key] each, and d_out d_key in scratch at least
    size_t rank;
} er_normal;

// Will the n x n system be solved because it is cheaper? Then P alone must have a factor.
bool er_normal_is_dual(const er_normal_shape *shape);

// Takes the buffers, which the arena owns; an arena without a device only counts their bytes.
er_status er_normal_take(er_normal *s, er_arena *a, const er_normal_shape *shape);
er_status er_normal_begin(er_normal *s, double spread);
// Room for n more columns (n <= capacity): their rows of K^T and R^T, to be written before
// er_normal_added(n). EARG beyond shape.n in the column form.
er_status er_normal_room(er_normal *s, double **keys, double **resid, size_t n);
void er_normal_added(er_normal *s, size_t n);
er_status er_normal_close(er_normal *s);
// Summed form: the sums over all ranks, of which each has closed its own; shape.n becomes the number of all
// columns.
er_status er_normal_reduce(er_normal *s, const er_comm *c);
// In the column form kk is free for other use until here.
er_status er_normal_begin_prior(er_normal *s);
// P += alpha m, m [d_key, d_key] symmetric;  P += alpha I.
er_status er_normal_add_matrix(er_normal *s, double alpha, const double *m);
er_status er_normal_add_identity(er_normal *s, double alpha);
// dW is to lie in the span of `basis`, whose first `rank` rows the caller has filled: with U = basis^T,
// dW = R K^T U (U^T A U)^-1 U^T. EARG.
er_status er_normal_restrict(er_normal *s, size_t rank);
// Waits. ENUMERIC when A is not positive definite, or with ridge 0 when the keys depend on each other. No
// columns: dW is 0.
er_status er_normal_solve(er_normal *s, er_solve_info *info);
#endif
