mod heap;
mod recipe;
