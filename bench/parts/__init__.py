"""What is measured: each part takes the plan and answers its figures."""
