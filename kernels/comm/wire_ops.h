// What a carrier of bytes between ranks does. Plain C without a type of errata's, since the MPI one is a
// module of its own, built against the MPI of the cluster.
#ifndef ER_WIRE_OPS_H
#define ER_WIRE_OPS_H
#include <stddef.h>
#include <stdint.h>

enum { ER_WIRE_VERSION = 1, ER_WIRE_MESSAGE = 1000 };

typedef struct er_parcel {
    size_t peer, n;
    void *bytes;  // [n]; of outgoing ones only read
} er_parcel;

enum {
    ER_RANK_RUNS,
    ER_RANK_FAILED,  // `status` and `message` say how
    ER_RANK_LEFT,    // because another one failed
    ER_RANK_GONE,    // the process has ended; `message` says how, where that is known
    ER_RANK_DONE     // the process has ended well, after its last collective
};

// What a rank lets all others know, outside the order of the collectives. Once `state` is not RUNS it stays.
typedef struct er_notice {
    uint32_t state, status;
    uint32_t alarm;  // somebody has to stop soon
    uint32_t beat;   // another number each time the rank gave a sign of life
    char message[ER_WIRE_MESSAGE];
} er_notice;

typedef struct er_wire_ops {
    uint32_t version;  // ER_WIRE_VERSION
    // Starts to send and receive parcels, at most one each way per peer. Both ends know the lengths; a parcel
    // of length 0 is none. `tag` is the same at both ends. Nothing else is begun before these are through. 0,
    // or -1: see `error`.
    int (*begin)(
        void *wire, uint32_t tag, const er_parcel *out, size_t n_out, const er_parcel *in, size_t n_in);
    // Waits at most that long. 1: all are through; 0: not yet; -1: see `error`.
    int (*progress)(void *wire, int milliseconds);
    // Is there something under way to or from `peer`?
    int (*waits_for)(void *wire, size_t peer);
    // The parcels under way no longer matter; their memory is not written any more. Nothing is begun
    // afterwards.
    void (*give_up)(void *wire);
    void (*post)(void *wire, const er_notice *mine);        // `beat` is not looked at
    void (*look)(void *wire, size_t peer, er_notice *out);  // what came last
    void (*beat)(void *wire);  // from a thread of its own; NULL: this carrier cannot
    const char *(*error)(void *wire);
    void (*close)(void *wire, int exit_code);  // 0: all went well
} er_wire_ops;

typedef struct er_wire {
    const er_wire_ops *op;
    void *self;
    size_t rank, size;
    size_t local_rank, local_size;  // on this machine
} er_wire;
#endif
