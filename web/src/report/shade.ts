/** Whether a cell is so full that its text is in the colour that stands on the accent. */
export const deep = (share: number): boolean => share > 0.5;

/**
 * How much colour a cell of a confusion matrix has, in percent. Between 50 and 84 neither colour of text could be read
 * on it in both themes: what is right leaps over these at a half, what is wrong stays below.
 */
export function shade(share: number, right: boolean): number {
  if (!right) return Math.round(60 * Math.sqrt(share));
  return Math.round(deep(share) ? 84 + 32 * (share - 0.5) : 70 * Math.sqrt(share));
}
