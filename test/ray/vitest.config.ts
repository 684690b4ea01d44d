import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/ray/**/*.ray.ts'],
    globalSetup: ['test/support/build.ts'],
    pool: 'forks',
    // There is one lab, and every test goes on where the one before ended.
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 240_000,
  },
});
