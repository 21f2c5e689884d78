#include "tests/support/faults.h"

er_faults faults;

#define ER_OP(name, params, args)                                                                            \
    static er_status failing_##name params {                                                                 \
        if (++faults.calls == faults.fail_at)                                                                \
            return er_fail(ER_EDEVICE, "call %zu, %s", faults.calls, #name);                                 \
        return faults.real->name args;                                                                       \
    }
#include "kernels/ops.def"

er_device_ops faults_ops(const er_device_ops *real) {
    er_device_ops t = *real;
    faults = (er_faults){.real = real};
#define ER_OP(name, params, args) t.name = failing_##name;
#include "kernels/ops.def"
    return t;
}
