// What is written is what was read: bytes that change between loading and copying are found, whatever the
// clock says.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "io/checkpoint.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

#define GOLDEN TEST_DATA "/golden/safetensors/sharded"
#define FIRST "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

static const char *const files[] = {FIRST, SECOND, "model.safetensors.index.json", "config.json"};

static const char *in_model(const char *model, const char *name) {
    char both[128];
    (void)snprintf(both, sizeof both, "%s/%s", model, name);
    return in_scratch(both);
}

static void make_model(const char *model) {
    OK(er_mkdirs(in_scratch(model)));
    for (int i = 0; i < 4; i++) {
        char from[512], to[128], *bytes = NULL;
        size_t n = 0;
        (void)snprintf(from, sizeof from, GOLDEN "/%s", files[i]);
        (void)snprintf(to, sizeof to, "%s/%s", model, files[i]);
        OK(er_file_read(&bytes, &n, from, 1 << 20));
        put_bytes(to, bytes, n);
        free(bytes);
    }
}

static er_checkpoint *open_digested(const char *model) {
    er_checkpoint *c = NULL;
    char hex[65];
    OK(er_checkpoint_open(&c, in_scratch(model)));
    OK(er_checkpoint_digest(c, hex));
    return c;
}

// One bit of the byte at `at`, size and times as before.
static void flip(const char *path, off_t at) {
    struct stat st;
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    (void)close(fd);
}

static er_status write_edited(const er_checkpoint *c, const char *out, char (*hex)[65]) {
    er_output *o = NULL;
    float s = -7.5f;
    const er_edited_tensor edit = {er_checkpoint_find(c, "scalar"), &s};
    OK(er_output_begin(&o, in_scratch(out), false));
    er_status rc = er_checkpoint_write_with(c, o, &edit, 1, &(er_write_options){.shard_digest = hex});
    if (rc == ER_OK) rc = er_output_commit(o);
    er_output_free(o);
    return rc;
}

static void finds_every_changed_byte(void **state) {
    (void)state;
    make_model("m");
    er_checkpoint *c = open_digested("m");
    const er_tensor *edited = er_checkpoint_find(c, "scalar");
    for (size_t f = 0; f < er_checkpoint_shards(c); f++) {
        const char *name = er_checkpoint_shard_name(c, f);
        struct stat st;
        assert_int_equal(stat(in_model("m", name), &st), 0);
        for (off_t at = 0; at < st.st_size; at += at < 8 ? 1 : 7) {
            flip(in_model("m", name), at);
            FAILS(
                write_edited(c, "out", NULL), ER_EIO, "is not what it was: the model changed during the job");
            assert_non_null(strstr(er_last_error(), name));
            assert_false(er_dir_exists(in_scratch("out")));
            flip(in_model("m", name), at);
        }
    }
    // Also the bytes that the edit replaces: it was computed on the old ones.
    flip(in_model("m", er_checkpoint_shard_name(c, edited->shard)), (off_t)edited->offset);
    FAILS(write_edited(c, "out", NULL), ER_EIO, "tensor 'scalar' is not what it was");
    flip(in_model("m", er_checkpoint_shard_name(c, edited->shard)), (off_t)edited->offset);
    OK(write_edited(c, "out", NULL));
    er_checkpoint_free(c);
    OK(er_remove_tree(in_scratch("out")));
}

// A tensor that is read a second time must be what it was.
static void finds_it_on_reading_again(void **state) {
    (void)state;
    float x[16];
    make_model("r");
    er_checkpoint *c = open_digested("r");
    const er_tensor *t = er_checkpoint_find(c, "h.0.f32");
    OK(er_checkpoint_read_f32(c, t, x));
    flip(in_model("r", er_checkpoint_shard_name(c, t->shard)), (off_t)t->offset + 1);
    FAILS(er_checkpoint_read(c, t, x), ER_EIO, "tensor 'h.0.f32' is not what it was");
    er_checkpoint_free(c);
}

// The digest is of what was loaded, not of what stands there when it is asked for.
static void digest_is_of_what_was_read(void **state) {
    (void)state;
    char want[65], hex[65];
    float x[16];
    make_model("d");
    er_checkpoint *c = open_digested("d");
    OK(er_checkpoint_digest(c, want));
    er_checkpoint_free(c);
    OK(er_checkpoint_open(&c, in_scratch("d")));
    er_checkpoint_watch(c);
    const er_tensor *t = er_checkpoint_find(c, "h.0.f32");
    OK(er_checkpoint_read_f32(c, t, x));
    flip(in_model("d", er_checkpoint_shard_name(c, t->shard)), (off_t)t->offset);
    OK(er_checkpoint_digest(c, hex));
    assert_string_equal(hex, want);
    FAILS(write_edited(c, "d-out", NULL), ER_EIO, "is not what it was");
    er_checkpoint_free(c);
}

static void whole_files_have_their_digests(void **state) {
    (void)state;
    char hex[2][65], want[65];
    make_model("w");
    er_checkpoint *c = open_digested("w");
    OK(write_edited(c, "w-out", hex));
    for (size_t f = 0; f < 2; f++) {
        OK(er_file_digest(want, in_model("w-out", er_checkpoint_shard_name(c, f))));
        assert_string_equal(hex[f], want);
    }
    er_checkpoint_free(c);
}

// The index and the configuration are written from the bytes that were parsed; a changed one is an error all
// the same.
static void small_files_too(void **state) {
    (void)state;
    for (int i = 2; i < 4; i++) {
        make_model("s");
        er_checkpoint *c = open_digested("s");
        char name[64];
        (void)snprintf(name, sizeof name, "s/%s", files[i]);
        put_text(name, "{}");
        FAILS(write_edited(c, "s-out", NULL), ER_EIO, files[i]);
        assert_non_null(strstr(er_last_error(), "the model changed during the job"));
        er_checkpoint_free(c);
    }
    assert_int_equal(count_entries(in_scratch("s-out")), -1);
}

// A hard link or a chmod moves the ctime; the bytes were compared, so it does not matter.
static void a_backup_may_run_meanwhile(void **state) {
    (void)state;
    make_model("b");
    er_checkpoint *c = open_digested("b");
    usleep(20000);
    assert_int_equal(link(in_model("b", FIRST), in_scratch("backup")), 0);
    assert_int_equal(chmod(in_model("b", SECOND), 0640), 0);
    OK(write_edited(c, "b-out", NULL));
    er_checkpoint_free(c);
}

// Reading and copying are long for a large model: a signal ends them, and nothing is left.
static int stopped(void) {
    er_checkpoint *c = NULL;
    er_output *o = NULL;
    float x[16];
    OK(er_checkpoint_open(&c, in_scratch("w")));
    OK(er_output_begin(&o, in_scratch("stopped"), false));
    er_signals_install();
    (void)kill(getpid(), SIGTERM);
    while (!er_stop_requested()) usleep(1000);
    FAILS(er_checkpoint_read(c, er_checkpoint_find(c, "h.0.f32"), x), ER_EINTERRUPTED,
        "stopped while it was read");
    FAILS(er_checkpoint_write(c, o, NULL, 0), ER_EINTERRUPTED, "stopped while it was written");
    er_output_free(o);
    er_checkpoint_free(c);
    return er_dir_exists(in_scratch("stopped"));
}

static void stops_when_asked(void **state) {
    (void)state;
    int status = 0;
    make_model("w");
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(stopped());
    assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_every_changed_byte),
        cmocka_unit_test(finds_it_on_reading_again), cmocka_unit_test(digest_is_of_what_was_read),
        cmocka_unit_test(whole_files_have_their_digests), cmocka_unit_test(small_files_too),
        cmocka_unit_test(a_backup_may_run_meanwhile), cmocka_unit_test(stops_when_asked)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
