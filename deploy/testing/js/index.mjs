// The names of index.cjs for `import`.

import testing from './index.cjs';

export const { start, Heliograph } = testing;
