// Shared by the two files of the normal equations.
#ifndef ER_NORMAL_INTERNAL_H
#define ER_NORMAL_INTERNAL_H
#include "engine/solve/normal.h"

// Is the n x n system cheaper than the d_key x d_key one? *flops: of the cheaper one.
bool er_normal_dual_pays(double *flops, const er_normal_shape *shape);
#endif
