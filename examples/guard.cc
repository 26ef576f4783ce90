// SPDX-License-Identifier: MIT
// C++: a lock for the life of an object, given back however its scope is left.
//
//	guard MUTEX
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <client/redmutex.h> // installed: <redmutex.h>

class Guard
{
      public:
	Guard(redmutex_t *rm, const std::string &name) : rm_(rm), name_(name)
	{
		redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		options.wait_ms = 5000;
		const int error = redmutex_acquire(rm_, name_.c_str(), &options, &lock_);
		if (error < 0)
			throw std::runtime_error(name_ + ": " + redmutex_strerror(error));
	}
	Guard(const Guard &) = delete;
	Guard &operator=(const Guard &) = delete;
	~Guard()
	{
		redmutex_release(rm_, name_.c_str(), lock_.lock);
	}
	long long fence() const
	{
		return lock_.fence;
	}

      private:
	redmutex_t *rm_;
	std::string name_;
	redmutex_lock lock_ = REDMUTEX_LOCK_INIT;
};

int main(int argc, char **argv)
{
	redmutex_t *rm;
	int exists = 1;

	if (argc != 2 || redmutex_connect(&rm, nullptr, nullptr) < 0) {
		std::fprintf(stderr, "%s\n", argc != 2 ? "which mutex?" : redmutex_error_text(nullptr));
		return EXIT_FAILURE;
	}
	try {
		Guard guard(rm, argv[1]);
		std::printf("fence %lld\n", guard.fence());
		throw std::runtime_error("work has failed");
	} catch (const std::exception &failure) {
		std::printf("%s\n", failure.what());
	}
	const int error = redmutex_exists(rm, argv[1], &exists);
	redmutex_close(rm);
	return error == 0 && exists == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
