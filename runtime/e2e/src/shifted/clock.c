/* Preloaded into a process, has it see another time of day than the machine's: FLOW_TEST_CLOCK says by how many seconds. What waits until
   a time of day would wait for another one than it means, since the kernel goes by the machine's: it is told the right one. Clocks that
   only measure how long something takes are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* No machine has run for so many seconds: a later time is one of day. */
#define TIME_OF_DAY 1000000000

static long by;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("FLOW_TEST_CLOCK");
  by = text ? atol(text) : 0;
  real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int failed = real_gettime ? real_gettime(id, now) : (int)syscall(SYS_clock_gettime, id, now);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += by;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec time;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec time;
  if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
  if (now) *now = time.tv_sec;
  return time.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

/* Which of two symbols of a name is meant its version says: that of x86-64 since 2003, or the only one. */
static void *found(const char *name) {
  void *symbol = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
  return symbol ? symbol : dlsym(RTLD_NEXT, name);
}

static struct timespec meant(const struct timespec *until) {
  struct timespec time = *until;
  if (time.tv_sec > TIME_OF_DAY) time.tv_sec -= by;
  return time;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!real) real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))found("pthread_cond_timedwait");
  struct timespec time = meant(until);
  return real(condition, mutex, &time);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
  static int (*real)(pthread_mutex_t *, const struct timespec *);
  if (!real) real = (int (*)(pthread_mutex_t *, const struct timespec *))dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
  struct timespec time = meant(until);
  return real(mutex, &time);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
  static int (*real)(sem_t *, const struct timespec *);
  if (!real) real = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec time = meant(until);
  return real(semaphore, &time);
}

int cnd_timedwait(void *condition, void *mutex, const struct timespec *until) {
  static int (*real)(void *, void *, const struct timespec *);
  if (!real) real = (int (*)(void *, void *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
  struct timespec time = meant(until);
  return real(condition, mutex, &time);
}
